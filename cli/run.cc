// r1 run CONFIG: the whole run on this machine.

#include <unistd.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/check_run.h"
#include "cli/commands.h"
#include "cli/run_supervisor.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/models/model_spec.h"
#include "common/stop_signal.h"
#include "learner/report.h"
#include "learner/run_directory.h"

namespace r1::cli {
namespace {

constexpr double kOrphanSeconds = 6;

int DryRun(const v1::Config& config, int64_t parameters) {
  std::cout << ConfigToToml(config) << "\n" << ConfigSummary(config, parameters);
  return kExitDone;
}

int PrintReport(const std::string& report_json, bool json) {
  if (json) {
    std::cout << report_json;
    return kExitDone;
  }
  const absl::StatusOr<std::string> table = learner::FormatReport(report_json);
  if (!table.ok()) return ReportError("run", table.status());
  std::cout << "\n" << *table;
  return kExitDone;
}

// A learner whose `r1 run` was killed still saves its checkpoint: it gets the time for that.
absl::Status AwaitFreeRun(const std::string& dir) {
  const double deadline = RealClock().MonotonicSeconds() + kOrphanSeconds;
  absl::Status free = learner::CheckNotHeld(dir);
  if (absl::IsFailedPrecondition(free)) {
    std::cerr << "waiting up to " << kOrphanSeconds << " s for the learner of an earlier start\n";
  }
  while (absl::IsFailedPrecondition(free) && RealClock().MonotonicSeconds() < deadline &&
         !ProcessStopSignal().WaitFor(0.1)) {
    free = learner::CheckNotHeld(dir);
  }
  return free;
}

int Run(const ParsedCommand& parsed) {
  InstallSignalHandlers();
  const std::string path = parsed.positionals()[0];
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig(path, parsed.Values("set"));
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return kExitUsage;
  }
  const v1::Config& config = loaded->config;
  const absl::StatusOr<ModelSpec> spec =
      CheckRun(*loaded, parsed.Has("dry-run") ? RunPurpose::kPlan : RunPurpose::kStart);
  if (!spec.ok()) {
    std::cerr << spec.status().message() << "\n";
    return kExitUsage;
  }
  if (parsed.Has("dry-run")) return DryRun(config, spec->parameters());
  const absl::StatusOr<learner::RunInspection> before = learner::InspectRun(config);
  if (!before.ok()) {
    std::cerr << "r1 run: " << before.status().message() << "\n";
    return kExitUsage;
  }
  const bool json = parsed.Has("json");
  if (before->finished) {
    if (!json) std::cout << config.run().dir() << " is finished\n";
    return PrintReport(before->report_json, json);
  }
  if (const absl::Status free = AwaitFreeRun(config.run().dir()); !free.ok()) {
    std::cerr << "r1 run: " << free.message() << "\n";
    return kExitUsage;
  }
  if (!json) {
    std::cout << (before->is_new ? "starting " : "resuming ") << path << " in "
              << config.run().dir() << std::endl;
  }

  SupervisorOptions options;
  options.learner_arguments = {path};
  for (const std::string& override_text : parsed.Values("set")) {
    options.learner_arguments.insert(options.learner_arguments.end(), {"--set", override_text});
  }
  options.style = json ? ProgressStyle::kJson
                       : (isatty(STDOUT_FILENO) ? ProgressStyle::kTerminal : ProgressStyle::kPlain);
  const int code = RunSupervisor(config, options, ProcessStopSignal()).Run();
  if (code == kExitPreempted) {
    std::cerr << "stopped with a checkpoint; the same command goes on from it\n";
  }
  if (code != kExitDone) return code;
  const absl::StatusOr<learner::RunInspection> after = learner::InspectRun(config);
  if (!after.ok()) return ReportError("run", after.status());
  return PrintReport(after->report_json, json);
}

}  // namespace

const Command& RunCommand() {
  static const auto* command = new Command{
      {.name = "run",
       .summary = "Runs all stages of a config on this machine: starts learner and workers, shows "
                  "progress, resumes.",
       .positionals = {{.name = "CONFIG", .help = "TOML file, see docs/config.md"}},
       .flags = {{.name = "set",
                  .value = "KEY=VALUE",
                  .help = "overrides a key, as in stage.rl.grpo.steps=10",
                  .repeated = true},
                 {.name = "dry-run",
                  .help = "prints the resolved config and its arithmetic, and starts nothing"},
                 {.name = "json", .help = "prints metrics rows and the final report as JSON"}}},
      &Run};
  return *command;
}

}  // namespace r1::cli
