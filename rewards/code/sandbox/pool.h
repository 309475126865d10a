// The sandbox of a process: slots for its threads, the control groups, and the decision whether
// this machine can hold foreign code at all. Shared by all code rewards of the process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "rewards/code/sandbox/cgroup.h"
#include "rewards/code/sandbox/job.h"
#include "rewards/code/sandbox/slot.h"

namespace r1::rewards::code {

struct SandboxOptions {
  // Names of layers that may be missing: "landlock"; "memory_rlimit" (no control groups: resource
  // limits of each process and this process's watch over the memory of all of them instead).
  std::vector<std::string> missing_layers_allowed;
};

// Thread-safe.
class SandboxPool {
 public:
  // Proves the layers first. InvalidArgument: an unknown name of a layer. FailedPrecondition: a
  // layer is missing or does not hold; the message names it and what to change.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SandboxPool>> Start(
      const SandboxOptions& options);
  ~SandboxPool();

  // As ::RunJobs, in a free slot; waits for one. `compiles`: a slot with the precompiled header.
  [[nodiscard]] absl::StatusOr<std::vector<JobResult>> Run(const std::vector<Job>& jobs,
                                                           bool compiles = false);
  LayerSet layers() const { return layers_; }

 private:
  struct Shelf {
    std::vector<std::unique_ptr<Slot>> idle;
    int count = 0;  // idle, in use, and being started
    int count_max = 1;
  };

  SandboxPool() = default;
  absl::StatusOr<std::unique_ptr<Slot>> Acquire(Shelf& shelf, bool compiles);
  void Release(Shelf& shelf, std::unique_ptr<Slot> slot);

  std::unique_ptr<CgroupTree> cgroups_;
  LayerSet layers_ = kAllLayers;
  absl::Mutex mutex_;
  Shelf runners_ ABSL_GUARDED_BY(mutex_);
  Shelf compilers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::rewards::code
