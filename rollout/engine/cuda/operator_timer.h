// Time of each operator on the GPU, by events between its kernels. Kernels no longer overlap their
// neighbours then, so the sum is above the time of an unmeasured step.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "common/status.h"
#include "rollout/engine/cuda/device_memory.h"
#include "rollout/engine/engine.h"

namespace r1::rollout {

class OperatorTimer {
 public:
  enum Operator {
    kNorm,
    kProjections,
    kCacheWrite,
    kAttention,
    kMlp,
    kRouter,
    kExperts,
    kHead,
    kOperatorCount
  };

  // What was enqueued since the last mark belongs to `operation`.
  void Mark(Operator operation, cudaStream_t stream);
  void Begin(cudaStream_t stream) { Mark(kOperatorCount, stream); }
  // After the stream has been synchronised: adds up what was marked.
  absl::Status Collect();
  std::vector<OperatorTime> times() const;

 private:
  absl::Status status_;  // of the marks
  std::vector<Event> events_;
  std::vector<Operator> marks_;  // one an event
  double seconds_[kOperatorCount] = {};
};

}  // namespace r1::rollout
