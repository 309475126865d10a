// `r1 run` after its config is read: starts the learner (through mpirun when it has several ranks)
// and the workers as child processes, shows progress, restarts dead and silent workers, and shuts
// everything down on a signal.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "cli/status_client.h"
#include "cli/subprocess.h"
#include "common/stop_signal.h"
#include "learner/run_directory.h"
#include "proto/config.pb.h"
#include "proto/status.pb.h"

namespace r1::cli {

struct SupervisorOptions {
  std::vector<std::string> learner_arguments;  // CONFIG and overrides, as typed
  ProgressStyle style = ProgressStyle::kPlain;
};

// One run. Not thread-safe.
class RunSupervisor {
 public:
  RunSupervisor(const v1::Config& config, SupervisorOptions options, const StopSignal& stop);

  // Until the learner has ended and the workers with it. Returns the exit code; says on stderr what
  // went wrong, the first cause last.
  int Run();

 private:
  struct WorkerSlot {
    std::optional<Subprocess> process;
    int starts = 0;
    int failures_in_a_row = 0;
    double started = 0;
    double restart_at = 0;
  };

  absl::Status StartLearner();
  absl::Status StartWorker(int index);
  // Starts workers once the learner has an address, and again when they died.
  absl::Status TendWorkers();
  // Kills workers that live but that the learner has long lost: stopped, or stuck for good.
  void KillSilentWorkers(const v1::RunStatus& status);
  void StopWorkers();
  void ForwardStop();
  int Conclude(const ProcessEnd& end);
  std::string LogPath(const std::string& name) const;
  bool has_ranks() const { return config_.learner().ranks() > 1; }

  const v1::Config& config_;
  const SupervisorOptions options_;
  const StopSignal& stop_;
  Progress progress_;
  std::string attempt_folder_;
  uint64_t previous_incarnation_ = 0;
  std::optional<Subprocess> learner_;
  std::optional<learner::Endpoint> endpoint_;
  std::unique_ptr<StatusClient> status_client_;
  std::vector<WorkerSlot> workers_;
  bool stop_forwarded_ = false;
};

}  // namespace r1::cli
