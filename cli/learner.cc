// r1 learner CONFIG: one rank of the learner. On a cluster: mpirun -n N r1 learner CONFIG.

#include "learner/learner.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/build_info.h"
#include "cli/commands.h"
#include "common/config.h"
#include "common/log.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

int Learner(const ParsedCommand& parsed) {
  InstallSignalHandlers();
  const absl::StatusOr<LoadedConfig> loaded =
      LoadConfig(parsed.positionals()[0], parsed.Values("set"));
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return kExitUsage;
  }
  learner::LearnerOptions options{.build_line = BuildLine(),
                                  .build_json = BuildJson(),
                                  .version = Build().version,
                                  .commit = Build().commit,
                                  .torch = Build().torch,
                                  .last_stage = parsed.Value("last-stage"),
                                  .log_folder = parsed.Value("log-folder")};
  const absl::StatusOr<learner::RunOutcome> outcome =
      learner::RunLearner(*loaded, options, ProcessStopSignal());
  if (!outcome.ok()) {
    R1_LOG(kError) << outcome.status().message();
    const bool users =
        absl::IsInvalidArgument(outcome.status()) || absl::IsPermissionDenied(outcome.status());
    return users ? kExitUsage : kExitFailed;
  }
  return *outcome == learner::RunOutcome::kPreempted ? kExitPreempted : kExitDone;
}

}  // namespace

const Command& LearnerCommand() {
  static const auto* command = new Command{
      {.name = "learner",
       .summary = "Runs one learner rank; workers join it from anywhere (r1 worker).",
       .positionals = {{.name = "CONFIG", .help = "TOML file, see docs/config.md"}},
       .flags = {{.name = "set", .value = "KEY=VALUE", .help = "overrides a key", .repeated = true},
                 {.name = "last-stage", .value = "NAME", .help = "stops behind this stage"},
                 {.name = "log-folder",
                  .value = "DIR",
                  .help = "ranks above 0 log to learner_<rank>.log there"}}},
      &Learner};
  return *command;
}

}  // namespace r1::cli
