#include "cli/run_supervisor.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/commands.h"
#include "common/clock.h"
#include "common/filesystem.h"

namespace r1::cli {
namespace {

constexpr double kPollSeconds = 0.05;
constexpr double kStatusEverySeconds = 0.5;
// A worker that lived so long was healthy: its next failure is a first one again.
constexpr double kHealthySeconds = 30;
constexpr double kWorkerFarewellSeconds = 3;
constexpr int kWorkerFailuresMax = 8;  // in a row, of one worker
// A worker that was silent for so many worker_timeout_seconds will not come back by itself.
constexpr double kSilentTimeouts = 3;
// Nor one that lives so long and has not joined.
constexpr double kJoinSecondsMax = 20;
constexpr size_t kTailLines = 5;
// Containers often forbid the cross-memory attach that the shared-memory transport would use; ranks
// that wait give their core away.
constexpr char kMpirun[] =
    "mpirun --oversubscribe --bind-to none --mca btl_vader_single_copy_mechanism none "
    "--mca mpi_yield_when_idle 1 -n";

// The error lines of a log.
std::vector<std::string> ErrorLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> errors;
  for (std::string line; std::getline(file, line);) {
    if (absl::StrContains(line, " ERROR ") || absl::StrContains(line, "check failed") ||
        absl::StrContains(line, "terminate called")) {
      errors.push_back(line);
    }
  }
  return errors;
}

// The error lines of a log or, when there are none, its last lines.
std::vector<std::string> TellingLines(const std::string& path) {
  std::vector<std::string> lines = ErrorLines(path);
  if (!lines.empty()) return lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
    if (lines.size() > kTailLines) lines.erase(lines.begin());
  }
  return lines;
}

}  // namespace

RunSupervisor::RunSupervisor(const v1::Config& config, SupervisorOptions options,
                             const StopSignal& stop)
    : config_(config),
      options_(std::move(options)),
      stop_(stop),
      progress_(config, JoinPath(config.run().dir(), "metrics.jsonl"),
                RealFileSystem().Size(JoinPath(config.run().dir(), "metrics.jsonl")).value_or(0),
                options_.style, std::cout),
      workers_(static_cast<size_t>(config.rollout().workers())) {}

std::string RunSupervisor::LogPath(const std::string& name) const {
  return JoinPath(attempt_folder_, name + ".log");
}

absl::Status RunSupervisor::StartLearner() {
  if (const auto endpoint = learner::ReadEndpoint(config_.run().dir()); endpoint.ok()) {
    previous_incarnation_ = endpoint->incarnation;
  }
  R1_ASSIGN_OR_RETURN(attempt_folder_, learner::CreateAttemptFolder(config_.run().dir()));
  std::vector<std::string> arguments;
  if (has_ranks()) {
    arguments = std::vector<std::string>(absl::StrSplit(kMpirun, ' '));
    arguments.push_back(absl::StrCat(config_.learner().ranks()));
    if (geteuid() == 0) arguments.push_back("--allow-run-as-root");
  }
  arguments.insert(arguments.end(), {OwnProgramPath(), "learner"});
  arguments.insert(arguments.end(), options_.learner_arguments.begin(),
                   options_.learner_arguments.end());
  arguments.insert(arguments.end(), {"--log-folder", attempt_folder_});
  R1_ASSIGN_OR_RETURN(Subprocess learner,
                      Subprocess::Start(arguments, LogPath("learner_0"),
                                        has_ranks() ? SignalMask::kClear : SignalMask::kKeep));
  learner_.emplace(std::move(learner));
  return absl::OkStatus();
}

absl::Status RunSupervisor::StartWorker(int index) {
  WorkerSlot& slot = workers_[static_cast<size_t>(index)];
  const std::string name = absl::StrCat("worker_", index);
  const std::vector<std::string> arguments = {OwnProgramPath(),        "worker", "--learner",
                                              endpoint_->grpc_address, "--name", name,
                                              "--retry-seconds",       "5"};
  R1_ASSIGN_OR_RETURN(Subprocess worker,
                      Subprocess::Start(arguments, LogPath(name), SignalMask::kKeep));
  slot.process.emplace(std::move(worker));
  slot.started = RealClock().MonotonicSeconds();
  ++slot.starts;
  return absl::OkStatus();
}

absl::Status RunSupervisor::TendWorkers() {
  if (!endpoint_) {
    const auto endpoint = learner::ReadEndpoint(config_.run().dir());
    if (!endpoint.ok() || endpoint->incarnation <= previous_incarnation_) return absl::OkStatus();
    endpoint_ = *endpoint;
    status_client_ = std::make_unique<StatusClient>(endpoint_->grpc_address);
    progress_.ClearBar();
    // What the learner got over while it started: a damaged checkpoint, for instance.
    for (const std::string& line : ErrorLines(LogPath("learner_0"))) std::cerr << line << "\n";
    if (options_.style != ProgressStyle::kJson) {
      std::cout << "run " << config_.run().dir() << "  status page http://"
                << endpoint_->http_address << "/\n"
                << std::flush;
    }
  }
  const double now = RealClock().MonotonicSeconds();
  for (size_t i = 0; i < workers_.size(); ++i) {
    WorkerSlot& slot = workers_[i];
    if (slot.process) {
      const std::optional<ProcessEnd> end = slot.process->Poll();
      if (!end) continue;
      slot.process.reset();
      if (end->code == 0) {
        slot.restart_at = INFINITY;  // the learner told it that the run is over
        continue;
      }
      slot.failures_in_a_row =
          now - slot.started > kHealthySeconds ? 1 : slot.failures_in_a_row + 1;
      if (slot.failures_in_a_row > kWorkerFailuresMax) {
        return absl::UnavailableError(absl::StrCat("worker_", i, " failed ", slot.failures_in_a_row,
                                                   " times in a row, last with ", end->ToString()));
      }
      slot.restart_at = now + config_.rollout().restart_backoff_seconds() *
                                  std::pow(2, std::min(slot.failures_in_a_row - 1, 6));
      progress_.ClearBar();
      std::cerr << "worker_" << i << " ended with " << end->ToString() << "; restarting it\n";
    }
    if (now >= slot.restart_at) R1_RETURN_IF_ERROR(StartWorker(static_cast<int>(i)));
  }
  return absl::OkStatus();
}

void RunSupervisor::KillSilentWorkers(const v1::RunStatus& status) {
  const double patience = kSilentTimeouts * config_.rollout().worker_timeout_seconds();
  const double now = RealClock().MonotonicSeconds();
  for (size_t i = 0; i < workers_.size(); ++i) {
    WorkerSlot& slot = workers_[i];
    if (!slot.process) continue;
    const v1::WorkerStatus* row = nullptr;  // the last: a worker may have joined again
    for (const v1::WorkerStatus& worker : status.workers()) {
      if (worker.pid() == slot.process->pid()) row = &worker;
    }
    const double silent = row != nullptr ? row->last_seen_seconds() : now - slot.started;
    const bool hopeless = row != nullptr ? !row->connected() && silent > patience
                                         : silent > std::max(patience, kJoinSecondsMax);
    if (!hopeless) continue;
    progress_.ClearBar();
    std::cerr << absl::StrFormat("worker_%d lives but has %s for %.0f s; killing it\n", i,
                                 row != nullptr ? "been silent" : "not joined the run", silent);
    slot.process->Signal(SIGKILL, true);
  }
}

void RunSupervisor::ForwardStop() {
  if (stop_forwarded_ || !stop_.raised()) return;
  // Rank 0 itself, not mpirun, which would kill all ranks; rank 0 tells the others. Before it has
  // said who it is, the next turn tries again.
  if (has_ranks() && !endpoint_) return;
  stop_forwarded_ = true;
  progress_.ClearBar();
  std::cerr << "stopping: saving a checkpoint (once more to stop at once)\n";
  if (has_ranks()) {
    kill(static_cast<pid_t>(endpoint_->pid), SIGTERM);
  } else {
    learner_->Signal(SIGTERM);
  }
}

void RunSupervisor::StopWorkers() {
  for (WorkerSlot& slot : workers_) {
    if (slot.process) slot.process->Signal(SIGTERM);
  }
  for (WorkerSlot& slot : workers_) {
    if (slot.process) slot.process->WaitOrKill(kWorkerFarewellSeconds);
    slot.process.reset();
  }
}

int RunSupervisor::Conclude(const ProcessEnd& end) {
  progress_.ClearBar();
  if (end.code == kExitDone || end.code == kExitPreempted) return end.code;
  std::cerr << "\nthe learner ended with " << end.ToString() << "; logs are in " << attempt_folder_
            << "\n";
  for (const std::string& line : TellingLines(LogPath("learner_0")))
    std::cerr << "  " << line << "\n";
  return end.code == kExitUsage ? kExitUsage : kExitFailed;
}

int RunSupervisor::Run() {
  if (const absl::Status started = StartLearner(); !started.ok())
    return ReportError("run", started);
  double next_status = 0;
  std::optional<ProcessEnd> end;
  std::optional<v1::RunStatus> status;
  while (!(end = learner_->Poll())) {
    ForwardStop();
    absl::Status tended;
    if (!stop_forwarded_) tended = TendWorkers();
    if (!tended.ok()) {
      learner_->Signal(SIGTERM, true);
      learner_->WaitOrKill(10);
      StopWorkers();
      progress_.ClearBar();
      for (const std::string& line : TellingLines(LogPath("worker_0")))
        std::cerr << "  " << line << "\n";
      return ReportError("run", tended);
    }
    const double now = RealClock().MonotonicSeconds();
    if (now >= next_status) {
      next_status = now + kStatusEverySeconds;
      if (status_client_ != nullptr) {
        const auto answer = status_client_->GetStatus(0.5);
        status = answer.ok() ? std::optional(*answer) : std::nullopt;
      }
      if (status && !stop_forwarded_) KillSilentWorkers(*status);
      progress_.Update(options_.style == ProgressStyle::kTerminal ? status : std::nullopt);
    }
    // Short sleeps; a raised stop must not turn them into a busy loop.
    if (stop_.raised()) {
      usleep(static_cast<useconds_t>(kPollSeconds * 1e6));
    } else {
      stop_.WaitFor(kPollSeconds);
    }
  }
  progress_.Update(std::nullopt);
  StopWorkers();
  return Conclude(*end);
}

}  // namespace r1::cli
