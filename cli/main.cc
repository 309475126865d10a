// The program r1: finds the subcommand, prints help, and turns what is left of exceptions into an
// exit code.

#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "cli/build_info.h"
#include "cli/commands.h"

namespace r1::cli {
namespace {

constexpr char kSummary[] =
    "trains reasoning models the way DeepSeek-R1-Zero and DeepSeek-R1 were trained";

const std::vector<const Command*>& Commands() {
  static const auto* commands = new std::vector<const Command*>{
      &RunCommand(),      &PlanCommand(),         &LearnerCommand(),    &WorkerCommand(),
      &GenerateCommand(), &EvalCommand(),         &ScoreCommand(),      &TokenizeCommand(),
      &LogitsCommand(),   &ChatTemplateCommand(), &CheckpointCommand(), &BenchCommand(),
      &StatusCommand(),   &VersionCommand()};
  return *commands;
}

int Main(const std::vector<std::string>& arguments) {
  std::vector<CommandSpec> specs;
  for (const Command* command : Commands()) specs.push_back(command->spec);
  const std::string first = arguments.empty() ? "" : arguments[0];
  if (first == "--help" || first == "-h" || first == "help") {
    std::cout << ProgramHelp("r1", kSummary, specs);
    return kExitDone;
  }
  if (first == "--version") {
    std::cout << BuildLine() << "\n";
    return kExitDone;
  }
  if (first.empty()) {
    std::cerr << ProgramHelp("r1", kSummary, specs);
    return kExitUsage;
  }
  const absl::StatusOr<int> found = FindCommand(specs, first);
  if (!found.ok()) {
    std::cerr << "r1: " << found.status().message() << "\n";
    return kExitUsage;
  }
  const Command& command = *Commands()[static_cast<size_t>(*found)];
  const absl::StatusOr<ParsedCommand> parsed =
      ParseCommand(command.spec, std::vector<std::string>(arguments.begin() + 1, arguments.end()));
  if (!parsed.ok()) {
    std::cerr << "r1 " << first << ": " << parsed.status().message() << "\n";
    return kExitUsage;
  }
  if (parsed->Has("help")) {
    std::cout << CommandHelp("r1", command.spec);
    return kExitDone;
  }
  return command.run(*parsed);
}

}  // namespace

int ReportError(const std::string& command, const absl::Status& status) {
  std::cerr << "r1 " << command << ": " << status.message() << "\n";
  const bool users = absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                     absl::IsPermissionDenied(status);
  return users ? kExitUsage : kExitFailed;
}

}  // namespace r1::cli

int main(int argc, char** argv) {
  try {
    return r1::cli::Main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::cerr << "r1: " << error.what() << " (a bug in r1; please report it)\n";
    return r1::cli::kExitFailed;
  }
}
