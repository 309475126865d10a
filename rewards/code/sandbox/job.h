// Runs jobs in a slot and watches over them from outside: wall clock, processor time, memory and
// output are bounded by this process, which kills the job's whole tree when a bound is passed. The
// job's output comes through pipes only; no path that it could write is ever opened.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"
#include "rewards/code/sandbox/cgroup.h"
#include "rewards/code/sandbox/owned_fd.h"
#include "rewards/code/sandbox/slot.h"

namespace r1::rewards::code {

struct JobLimits {
  double cpu_seconds = 4;
  double wall_seconds = 10;
  uint64_t memory_bytes = 512ull << 20;
  uint64_t output_bytes = 1 << 20;  // each of stdout and stderr
  uint64_t files_bytes = 64ull << 20;
  uint32_t processes = 32;
};

struct Job {
  Program program = Program::kPython;
  std::vector<std::string> arguments;  // kPath, kDescriptor
  int program_fd = -1;                 // kDescriptor; borrowed
  std::string input;                   // stdin
  std::string text;                    // at descriptor 3
  int channel = -1;                    // at descriptor 4, when there is one; borrowed
  bool takes_results = false;          // a pipe at the next descriptor, whose content is `results`
  bool exports = false;                // kExportPath is wanted when the job ends with exit code 0
  JobLimits limits;
};

struct JobResult {
  int wait_status = 0;
  std::string output, error_output, results;
  bool passed_cpu_limit = false;
  bool passed_wall_limit = false;
  bool passed_memory_limit = false;
  bool passed_output_limit = false;
  bool was_ended = false;  // killed because the job that it served had ended
  double cpu_seconds = 0;
  double wall_seconds = 0;
  int64_t memory_bytes_max = 0;
  OwnedFd exported;  // open when the export was made
};

// Runs them at the same time, at most kRunsAtOnceMax; the others are killed when the first ends.
// Returns when everything that they started is dead and reaped. `layers` must be those of the slot,
// less the control groups that are not there. Unavailable: the sandbox failed, and the slot may be
// broken; says nothing about the jobs.
[[nodiscard]] absl::StatusOr<std::vector<JobResult>> RunJobs(Slot& slot, CgroupTree& cgroups,
                                                             const std::vector<Job>& jobs,
                                                             LayerSet layers);

}  // namespace r1::rewards::code
