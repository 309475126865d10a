// r1 worker --learner HOST:PORT: one rollout worker; needs no config of its own.

#include "rollout/worker.h"

#include <iostream>

#include "absl/strings/numbers.h"
#include "cli/build_info.h"
#include "cli/commands.h"
#include "common/log.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

absl::StatusOr<rollout::WorkerOptions> ReadOptions(const ParsedCommand& parsed) {
  rollout::WorkerOptions options{.learner = parsed.Value("learner"), .build = BuildLine()};
  if (options.learner.empty())
    return absl::InvalidArgumentError("--learner is missing: HOST:PORT of a learner");
  options.device = parsed.Value("device");
  R1_ASSIGN_OR_RETURN(const int64_t threads, parsed.IntegerValue("threads", 0, 0, 512));
  options.threads = static_cast<int>(threads);
  const std::string retry = parsed.Value("retry-seconds", "30");
  if (!absl::SimpleAtod(retry, &options.retry_seconds) || options.retry_seconds < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--retry-seconds: expected a number from 0, found \"", retry, "\""));
  }
  options.connect_timeout_seconds = options.retry_seconds;
  return options;
}

int Worker(const ParsedCommand& parsed) {
  InstallSignalHandlers();
  SetLogRole(parsed.Value("name", "worker"));
  const absl::StatusOr<rollout::WorkerOptions> options = ReadOptions(parsed);
  if (!options.ok()) return ReportError("worker", options.status());
  const absl::Status status = rollout::RunWorker(*options, ProcessStopSignal());
  if (status.ok()) return kExitDone;
  R1_LOG(kError) << status.message();
  return absl::IsInvalidArgument(status) || absl::IsPermissionDenied(status) ? kExitUsage
                                                                             : kExitFailed;
}

}  // namespace

const Command& WorkerCommand() {
  static const auto* command = new Command{
      {.name = "worker",
       .summary = "Generates and scores samples for a learner; workers may come and go "
                  "while a run goes on.",
       .flags = {{.name = "learner",
                  .value = "HOST:PORT",
                  .help = "the learner's gRPC address (endpoint.json)"},
                 {.name = "device",
                  .value = "NAME",
                  .help = "where to generate: cpu, or cuda[:N], a Hopper GPU (default: the "
                          "config's)"},
                 {.name = "threads",
                  .value = "N",
                  .help = "engine threads (default: the config's)"},
                 {.name = "retry-seconds",
                  .value = "S",
                  .help = "how long the learner may be gone (default 30)"},
                 {.name = "name", .value = "TEXT", .help = "in log lines"}}},
      &Worker};
  return *command;
}

}  // namespace r1::cli
