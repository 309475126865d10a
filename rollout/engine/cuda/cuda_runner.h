// The runner on an NVIDIA GPU (Hopper) in bf16. A step's numbers go over in one copy, its tokens
// and logprobs come back in one; steps that continue one token a sequence are replays of a captured
// graph, one for each size of batch and of context, so that the host has nothing to do while the
// GPU computes.
#pragma once

#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "rollout/engine/cuda/device_memory.h"
#include "rollout/engine/cuda/device_model.h"
#include "rollout/engine/cuda/forward_pass.h"
#include "rollout/engine/cuda/operator_timer.h"
#include "rollout/engine/runner.h"

namespace r1::rollout {

// One owner thread calls everything.
class CudaRunner : public Runner {
 public:
  // FailedPrecondition without a Hopper GPU, ResourceExhausted when its memory is too small. `spec`
  // outlives the runner.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Runner>> Make(const ModelSpec& spec,
                                                                    const EngineOptions& options,
                                                                    const RunnerShape& shape);

  absl::Status LoadWeights(const WeightsSnapshot& weights) override;
  absl::Status Run(StepBatch* batch) override;
  // Logits are never whole on the GPU.
  absl::Status Logits(int count, float* logits) override;
  // "step" is the whole of a step on the GPU, copies included, always measured; the operators only
  // with EngineOptions::profile, and no graphs are used then.
  std::vector<OperatorTime> operator_times() const override;

 private:
  CudaRunner(const ModelSpec& spec, const EngineOptions& options, const RunnerShape& shape,
             int device)
      : spec_(spec), options_(options), shape_(shape), device_(device) {}

  // For the calling thread, whose setting it is.
  absl::Status UseDevice() const;
  absl::Status Allocate();
  absl::Status CopyBlocks(const std::vector<BlockCopy>& copies);
  absl::Status Launch(const ForwardPass::Step& step, bool is_decode);
  absl::StatusOr<Graph> Capture(const ForwardPass::Step& step);

  const ModelSpec& spec_;
  const EngineOptions options_;
  const RunnerShape shape_;
  const int device_;
  Stream stream_;
  std::unique_ptr<DeviceModel> model_;
  std::unique_ptr<OperatorTimer> timer_;  // null unless profile
  std::unique_ptr<ForwardPass> pass_;
  DeviceMemory cache_;
  DeviceMemory inputs_;
  DeviceMemory results_;
  DeviceMemory copies_;
  PinnedMemory host_inputs_;
  PinnedMemory host_results_;
  PinnedMemory host_copies_;
  // By rows, tokens of context, tiles of prefixes and tokens of these.
  std::map<std::tuple<int, int, int, int>, Graph> graphs_;
  Event step_begins_;
  Event step_ends_;
  double step_seconds_ = 0;
};

}  // namespace r1::rollout
