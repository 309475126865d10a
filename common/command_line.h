// The command lines of r1's subcommands: a CommandSpec says what a command takes, ParseCommand
// reads the words after its name, CommandHelp prints it. Flags are `--name value`, `--name=value`,
// `--name` (a switch); `--` ends them.
//
//   const CommandSpec kRun = {.name = "run", .summary = "Trains a model.",
//                             .positionals = {{.name = "CONFIG", .help = "TOML file"}},
//                             .flags = {{.name = "set", .value = "KEY=VALUE", .help = "overrides a
//                             key", .repeated = true},
//                                       {.name = "dry-run", .help = "prints the resolved config and
//                                       starts nothing"}}};
//   R1_ASSIGN_OR_RETURN(const ParsedCommand parsed, ParseCommand(kRun, arguments));
//   if (parsed.Has("help")) std::cout << CommandHelp("r1", kRun);
//   LoadConfig(parsed.positionals()[0], parsed.Values("set"));
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

struct PositionalSpec {
  std::string name;  // as in the help: "CONFIG"
  std::string help;
  bool optional = false;    // only after all that are not
  bool repeated = false;    // the last one only
  bool ends_flags = false;  // what comes after it is no flag of this command, dashes or not
};

struct FlagSpec {
  std::string name;        // without dashes
  std::string value = "";  // what it takes, as in the help: "N"; empty = a switch
  std::string help;
  bool repeated = false;
};

// Every command has --help (and -h) besides its flags.
struct CommandSpec {
  std::string name;
  std::string summary;  // one sentence
  std::vector<PositionalSpec> positionals = {};
  std::vector<FlagSpec> flags = {};
};

class ParsedCommand {
 public:
  bool Has(const std::string& flag) const { return values_.count(flag) > 0; }
  // The values of a flag, in order; of a switch, an empty string each time.
  std::vector<std::string> Values(const std::string& flag) const;
  // The last value, or `otherwise` when the flag is absent.
  std::string Value(const std::string& flag, const std::string& otherwise = "") const;
  // InvalidArgument when the value is no integer of this range.
  [[nodiscard]] absl::StatusOr<int64_t> IntegerValue(const std::string& flag, int64_t otherwise,
                                                     int64_t min, int64_t max) const;
  const std::vector<std::string>& positionals() const { return positionals_; }

 private:
  friend absl::StatusOr<ParsedCommand> ParseCommand(const CommandSpec& command,
                                                    const std::vector<std::string>& arguments);
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positionals_;
};

// InvalidArgument names the flag or positional, with the nearest known flag. With --help nothing
// else is demanded.
[[nodiscard]] absl::StatusOr<ParsedCommand> ParseCommand(const CommandSpec& command,
                                                         const std::vector<std::string>& arguments);

// The index of the command of this name; InvalidArgument names the nearest, or lists all.
[[nodiscard]] absl::StatusOr<int> FindCommand(const std::vector<CommandSpec>& commands,
                                              absl::string_view name);

// Usage line, positionals and flags in aligned columns.
std::string CommandHelp(const std::string& program, const CommandSpec& command);

// Usage line and one line a command.
std::string ProgramHelp(const std::string& program, const std::string& summary,
                        const std::vector<CommandSpec>& commands);

}  // namespace r1
