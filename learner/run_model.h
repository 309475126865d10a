// The model of a run as its config names it: a built-in preset or a Hugging Face folder, with its
// tokenizer. Torch-free.
#pragma once

#include <memory>
#include <optional>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "common/tokenizer.h"
#include "common/weights.h"
#include "proto/config.pb.h"

namespace r1::learner {

struct RunModel {
  ModelSpec spec;
  std::unique_ptr<Tokenizer> tokenizer;
};

// InvalidArgument: the folder's config.json or tokenizer.json cannot be used, or the tokenizer has
// more ids than the model.
[[nodiscard]] absl::StatusOr<RunModel> LoadRunModel(const v1::ModelConfig& config);

// The spec alone; when the folder of `path` is not there, that of `architecture`, if it is given.
[[nodiscard]] absl::StatusOr<ModelSpec> LoadRunSpec(const v1::ModelConfig& config);

// The folder's weights; nullopt for a preset, whose weights are random.
[[nodiscard]] absl::StatusOr<std::optional<WeightsSnapshot>> LoadRunWeights(
    const v1::ModelConfig& config, const ModelSpec& spec);

}  // namespace r1::learner
