// What the words of `init` and of `distill.teacher` mean: where a stage takes a model from.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "proto/config.pb.h"

namespace r1 {

struct StageInit {
  enum class Kind {
    kPrevious,  // what the stage before ended with
    kBase,      // what the last pretrain stage before ended with
    kStage,     // what the stage `name` ended with
    kPreset,    // the built-in architecture `name` with random weights
    kFolder,    // the Hugging Face folder `name`
  };
  Kind kind = Kind::kPrevious;
  std::string name = {};
  std::string tokenizer = {};  // of a preset; empty = the run's
};

// InvalidArgument: an empty text, or a stage or preset without a name.
[[nodiscard]] absl::StatusOr<StageInit> ParseStageInit(absl::string_view text);

// Index of the stage with this name, or -1.
int FindStage(const v1::Config& config, absl::string_view name);

// Index of the earlier stage whose final weights stage `index` starts from: kStage, kBase where
// there is a pretrain stage before, and kPrevious. -1: none, [model] stands for it.
int SourceStage(const v1::Config& config, int index, const StageInit& init);

}  // namespace r1
