// The model that a stage starts from, or that teaches it: a built-in one, a Hugging Face folder, or
// what an earlier stage of the run ended with. Torch-free.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/stage_init.h"
#include "common/status.h"
#include "common/weights.h"
#include "learner/checkpoint.h"
#include "learner/run_model.h"
#include "proto/config.pb.h"

namespace r1::learner {

struct StageModel {
  RunModel model;
  // Null: random ones, of the run's seed.
  std::shared_ptr<const WeightsSnapshot> weights;
  std::string origin;  // for people: "checkpoint 02_rl_step_000120", "folder x", "preset qwen_tiny"
};

// What `init` means for stage `index`; [model] where it names a stage before the first. NotFound:
// an earlier stage has no checkpoint of its end. InvalidArgument: a folder that cannot be used.
[[nodiscard]] absl::StatusOr<StageModel> LoadStageModel(const v1::Config& config, int index,
                                                        const StageInit& init,
                                                        const CheckpointStore& store);

// [model] of the config.
[[nodiscard]] absl::StatusOr<StageModel> LoadFirstModel(const v1::ModelConfig& config);

}  // namespace r1::learner
