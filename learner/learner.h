// The learner process: one rank of a run. Opens or resumes the run directory, loads the model,
// serves the workers, and runs the stages one after the other.
#pragma once

#include <string>

#include "common/config.h"
#include "common/status.h"
#include "common/stop_signal.h"

namespace r1::learner {

struct LearnerOptions {
  std::string build_line;  // `r1 version`, first line
  std::string build_json;
  std::string version;
  std::string commit;
  std::string torch;
  std::string last_stage;  // the run stops behind it, as if it were asked to; empty = all stages
  std::string log_folder;  // ranks above 0 log to learner_<rank>.log there; empty = stderr
};

enum class RunOutcome { kFinished, kStageDone, kPreempted };

// Blocks until the run is finished, past options.last_stage, stopped (after a checkpoint) or
// failed.
[[nodiscard]] absl::StatusOr<RunOutcome> RunLearner(const LoadedConfig& loaded,
                                                    const LearnerOptions& options,
                                                    const StopSignal& stop);

}  // namespace r1::learner
