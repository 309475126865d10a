// The subcommands of r1. Each is a CommandSpec (what it takes) and a function (what it does), in a
// file of its own; main.cc lists them. A function returns the exit code: 0 done, 2 bad usage or
// config, 3 failed, 4 preempted after a checkpoint.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/command_line.h"

namespace r1::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitFailed = 3;
inline constexpr int kExitPreempted = 4;

struct Command {
  CommandSpec spec;
  int (*run)(const ParsedCommand& parsed);
};

const Command& RunCommand();
const Command& LearnerCommand();
const Command& WorkerCommand();
const Command& BenchCommand();
const Command& EvalCommand();
const Command& GenerateCommand();
const Command& LogitsCommand();
const Command& PlanCommand();
const Command& ScoreCommand();
const Command& ChatTemplateCommand();
const Command& CheckpointCommand();
const Command& StatusCommand();
const Command& TokenizeCommand();
const Command& VersionCommand();

// Prints "r1 <command>: <message>" on stderr and returns the code: InvalidArgument, NotFound and
// PermissionDenied are the user's (2), everything else is a failure (3).
int ReportError(const std::string& command, const absl::Status& status);

}  // namespace r1::cli
