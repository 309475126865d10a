#include "rollout/engine/cuda/operator_timer.h"

#include <utility>

namespace r1::rollout {

void OperatorTimer::Mark(Operator operation, cudaStream_t stream) {
  if (!status_.ok()) return;
  if (marks_.size() == events_.size()) {
    absl::StatusOr<Event> event = MakeEvent();
    status_ = event.status();
    if (!status_.ok()) return;
    events_.push_back(*std::move(event));
  }
  status_ = CudaStatus(cudaEventRecord(events_[marks_.size()].get(), stream), "recording an event");
  marks_.push_back(operation);
}

absl::Status OperatorTimer::Collect() {
  for (size_t i = 1; i < marks_.size() && status_.ok(); ++i) {
    if (marks_[i] == kOperatorCount) continue;
    float milliseconds = 0;
    status_ =
        CudaStatus(cudaEventElapsedTime(&milliseconds, events_[i - 1].get(), events_[i].get()),
                   "reading an event");
    seconds_[marks_[i]] += 1e-3 * milliseconds;
  }
  marks_.clear();
  return std::exchange(status_, absl::OkStatus());
}

std::vector<OperatorTime> OperatorTimer::times() const {
  constexpr const char* kNames[kOperatorCount] = {"norm", "projections", "cache_write", "attention",
                                                  "mlp",  "router",      "experts",     "head"};
  std::vector<OperatorTime> times;
  for (int i = 0; i < kOperatorCount; ++i) times.push_back({kNames[i], seconds_[i]});
  return times;
}

}  // namespace r1::rollout
