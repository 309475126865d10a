// A stage of a run: pretrain, sft, grpo, rejection_sampling, distill. One file each, registered by
// its kind; everything it needs from the run comes from its StageContext.
#pragma once

#include <memory>

#include "common/registry.h"
#include "common/status.h"
#include "learner/stages/stage_context.h"
#include "proto/config.pb.h"

namespace r1::learner {

class Stage {
 public:
  virtual ~Stage() = default;
  // Steps of the stage as far as they are known, for progress; 0 = open-ended.
  virtual int64_t steps() const = 0;
  // Longest response of the stage's samples and evaluations, tokens.
  virtual int64_t response_tokens_max() const = 0;
  // Whether it changes the weights, so that its end is evaluated.
  virtual bool trains() const { return true; }
  // Runs from context.step() to the end, on every rank alike. OK: done. Cancelled: stopped at a
  // boundary between two steps, where the caller may save a checkpoint. Any other error ends the
  // run.
  virtual absl::Status Run(StageContext& context) = 0;
};

using StageRegistry = Registry<std::unique_ptr<Stage>(const v1::StageConfig& stage)>;

}  // namespace r1::learner
