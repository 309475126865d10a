// r1 run CONFIG: the whole run on this machine.

#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/check_run.h"
#include "cli/commands.h"
#include "cli/run_supervisor.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/models/model_spec.h"
#include "common/nearest_name.h"
#include "common/stage_init.h"
#include "common/stop_signal.h"
#include "common/utf8.h"
#include "learner/report.h"
#include "learner/rewind_run.h"
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

// Index of the stage that a flag names; -1 without the flag.
absl::StatusOr<int> StageOfFlag(const ParsedCommand& parsed, const std::string& flag,
                                const v1::Config& config) {
  if (!parsed.Has(flag)) return -1;
  const int index = FindStage(config, parsed.Value(flag));
  if (index >= 0) return index;
  std::vector<std::string> names;
  for (const v1::StageConfig& stage : config.stage()) names.push_back(stage.name());
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": expected the name of a stage (", absl::StrJoin(names, ", "),
                   "), found ", Quoted(parsed.Value(flag)), DidYouMean(parsed.Value(flag), names)));
}

// What --from-stage and --only-stage ask for, before anything is started.
absl::Status Rewind(const ParsedCommand& parsed, const v1::Config& config) {
  R1_ASSIGN_OR_RETURN(const int from, StageOfFlag(parsed, "from-stage", config));
  R1_ASSIGN_OR_RETURN(const int only, StageOfFlag(parsed, "only-stage", config));
  if (from >= 0 && only >= 0) {
    return absl::InvalidArgumentError("expected --from-stage or --only-stage, found both");
  }
  if (from >= 0 || only >= 0) R1_RETURN_IF_ERROR(AwaitFreeRun(config.run().dir()));
  if (from >= 0) return learner::RewindRun(config, from);
  if (only < 0) return absl::OkStatus();
  // An interrupted --only-stage goes on.
  R1_ASSIGN_OR_RETURN(const bool inside, learner::IsInsideStage(config, only));
  return inside ? absl::OkStatus() : learner::RewindRun(config, only);
}

int Run(const ParsedCommand& parsed) {
  InstallSignalHandlers();
  const std::string path = parsed.positionals()[0];
  const bool is_dry = parsed.Has("dry-run");
  std::vector<std::string> missing_files;
  const absl::StatusOr<LoadedConfig> loaded =
      LoadConfig(path, parsed.Values("set"), is_dry ? &missing_files : nullptr);
  if (!loaded.ok()) {
    std::cerr << loaded.status().message() << "\n";
    return kExitUsage;
  }
  const v1::Config& config = loaded->config;
  const absl::StatusOr<ModelSpec> spec =
      CheckRun(*loaded, is_dry ? RunPurpose::kPlan : RunPurpose::kStart);
  if (!spec.ok()) {
    std::cerr << spec.status().message() << "\n";
    return kExitUsage;
  }
  if (is_dry) {
    ReportMissingFiles("run", missing_files);
    return DryRun(config, spec->parameters());
  }
  if (const absl::Status rewound = Rewind(parsed, config); !rewound.ok()) {
    std::cerr << "r1 run: " << rewound.message() << "\n";
    return kExitUsage;
  }
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
  if (parsed.Has("only-stage")) {
    options.learner_arguments.insert(options.learner_arguments.end(),
                                     {"--last-stage", parsed.Value("only-stage")});
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
  if (!after->finished) {
    if (!json) {
      std::cout << "stage " << parsed.Value("only-stage")
                << " is done; the same command without --only-stage goes on with the next\n";
    }
    return kExitDone;
  }
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
                 {.name = "from-stage",
                  .value = "NAME",
                  .help = "begins this stage again, from what the one before it left"},
                 {.name = "only-stage",
                  .value = "NAME",
                  .help = "as --from-stage, and stops behind this stage"},
                 {.name = "dry-run",
                  .help = "prints the resolved config and its arithmetic, and starts nothing"},
                 {.name = "json", .help = "prints metrics rows and the final report as JSON"}}},
      &Run};
  return *command;
}

}  // namespace r1::cli
