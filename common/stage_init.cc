#include "common/stage_init.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/utf8.h"

namespace r1 {

absl::StatusOr<StageInit> ParseStageInit(absl::string_view text) {
  if (text == "previous") return StageInit{.kind = StageInit::Kind::kPrevious};
  if (text == "base") return StageInit{.kind = StageInit::Kind::kBase};
  absl::string_view rest = text;
  const bool is_stage = absl::ConsumePrefix(&rest, "stage:");
  const bool is_preset = !is_stage && absl::ConsumePrefix(&rest, "preset:");
  if (rest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected \"previous\", \"base\", \"stage:NAME\", \"preset:NAME\" or a folder "
                     "in Hugging Face layout, found ",
                     Quoted(text)));
  }
  if (is_stage) return StageInit{.kind = StageInit::Kind::kStage, .name = std::string(rest)};
  if (!is_preset) return StageInit{.kind = StageInit::Kind::kFolder, .name = std::string(rest)};
  std::pair<std::string, std::string> parts = absl::StrSplit(rest, absl::MaxSplits(':', 1));
  return StageInit{.kind = StageInit::Kind::kPreset,
                   .name = std::move(parts.first),
                   .tokenizer = std::move(parts.second)};
}

int FindStage(const v1::Config& config, absl::string_view name) {
  for (int i = 0; i < config.stage_size(); ++i) {
    if (config.stage(i).name() == name) return i;
  }
  return -1;
}

int SourceStage(const v1::Config& config, int index, const StageInit& init) {
  switch (init.kind) {
    case StageInit::Kind::kPrevious:
      return index - 1;
    case StageInit::Kind::kStage:
      return FindStage(config, init.name);
    case StageInit::Kind::kBase:
      for (int i = index - 1; i >= 0; --i) {
        if (config.stage(i).kind() == "pretrain") return i;
      }
      return -1;
    default:
      return -1;
  }
}

}  // namespace r1
