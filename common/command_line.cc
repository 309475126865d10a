// Deliberately left out: short flags but -h, defaults and types in the spec, global state.
#include "common/command_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/nearest_name.h"

namespace r1 {
namespace {

constexpr size_t kWidth = 100;

const FlagSpec& HelpFlag() {
  static const auto* flag =
      new FlagSpec{.name = "help", .value = "", .help = "prints this", .repeated = false};
  return *flag;
}

std::vector<FlagSpec> AllFlags(const CommandSpec& command) {
  std::vector<FlagSpec> flags = command.flags;
  flags.push_back(HelpFlag());
  return flags;
}

absl::Status UnknownFlag(const CommandSpec& command, const std::string& name) {
  std::vector<std::string> known;
  for (const FlagSpec& flag : AllFlags(command)) known.push_back(absl::StrCat("--", flag.name));
  std::string suggestion = DidYouMean(name, known);
  if (suggestion.empty()) suggestion = absl::StrCat("; known are ", absl::StrJoin(known, ", "));
  return absl::InvalidArgumentError(absl::StrCat("unknown flag \"", name, "\"", suggestion));
}

absl::Status CheckPositionals(const CommandSpec& command, const std::vector<std::string>& found) {
  const bool repeated = !command.positionals.empty() && command.positionals.back().repeated;
  if (found.size() > command.positionals.size() && !repeated) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"",
                                                   found[command.positionals.size()], "\"; see r1 ",
                                                   command.name, " --help"));
  }
  for (size_t i = found.size(); i < command.positionals.size(); ++i) {
    const PositionalSpec& missing = command.positionals[i];
    if (missing.optional) continue;
    return absl::InvalidArgumentError(absl::StrCat("expected ", missing.name, " (", missing.help,
                                                   "), found nothing; see r1 ", command.name,
                                                   " --help"));
  }
  return absl::OkStatus();
}

// Two columns; the right one is wrapped at kWidth and continues under itself.
std::string Columns(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t left_width = 0;
  for (const auto& [left, right] : rows) left_width = std::max(left_width, left.size());
  const std::string indent(left_width + 4, ' ');
  std::string text;
  for (const auto& [left, right] : rows) {
    std::string line = absl::StrCat("  ", left, std::string(left_width - left.size(), ' '));
    absl::string_view separator = "  ";
    for (const std::string& word : std::vector<std::string>(absl::StrSplit(right, ' '))) {
      if (line.size() + separator.size() + word.size() > kWidth && line.size() > indent.size()) {
        absl::StrAppend(&text, line, "\n");
        line = indent;
        separator = "";
      }
      absl::StrAppend(&line, separator, word);
      separator = " ";
    }
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace

std::vector<std::string> ParsedCommand::Values(const std::string& flag) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::string ParsedCommand::Value(const std::string& flag, const std::string& otherwise) const {
  const auto found = values_.find(flag);
  return found == values_.end() ? otherwise : found->second.back();
}

absl::StatusOr<int64_t> ParsedCommand::IntegerValue(const std::string& flag, int64_t otherwise,
                                                    int64_t min, int64_t max) const {
  if (!Has(flag)) return otherwise;
  int64_t value = 0;
  if (!absl::SimpleAtoi(Value(flag), &value) || value < min || value > max) {
    return absl::InvalidArgumentError(absl::StrCat("--", flag, ": expected an integer from ", min,
                                                   " to ", max, ", found \"", Value(flag), "\""));
  }
  return value;
}

absl::StatusOr<ParsedCommand> ParseCommand(const CommandSpec& command,
                                           const std::vector<std::string>& arguments) {
  const std::vector<FlagSpec> flags = AllFlags(command);
  ParsedCommand parsed;
  bool flags_ended = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string argument = arguments[i] == "-h" ? "--help" : arguments[i];
    // A lone dash is a file name: standard input.
    if (flags_ended || !absl::StartsWith(argument, "-") || argument == "-") {
      const size_t index = parsed.positionals_.size();
      if (index < command.positionals.size() && command.positionals[index].ends_flags) {
        flags_ended = true;
      }
      parsed.positionals_.push_back(arguments[i]);
      continue;
    }
    if (argument == "--") {
      flags_ended = true;
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string dashed_name = argument.substr(0, equals);
    const auto flag = std::find_if(flags.begin(), flags.end(), [&](const FlagSpec& spec) {
      return dashed_name == absl::StrCat("--", spec.name);
    });
    if (flag == flags.end()) return UnknownFlag(command, dashed_name);
    const auto error = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(dashed_name, ": ", what));
    };
    std::vector<std::string>& values = parsed.values_[flag->name];
    if (!values.empty() && !flag->repeated) return error("given twice");
    if (flag->value.empty()) {
      if (equals != std::string::npos) return error("takes no value");
      values.push_back("");
    } else if (equals != std::string::npos) {
      values.push_back(argument.substr(equals + 1));
    } else if (i + 1 < arguments.size()) {
      values.push_back(arguments[++i]);
    } else {
      return error(absl::StrCat("expected ", flag->value, ", found nothing"));
    }
  }
  if (!parsed.Has("help")) R1_RETURN_IF_ERROR(CheckPositionals(command, parsed.positionals_));
  return parsed;
}

absl::StatusOr<int> FindCommand(const std::vector<CommandSpec>& commands, absl::string_view name) {
  std::vector<std::string> names;
  for (const CommandSpec& command : commands) {
    if (command.name == name) return static_cast<int>(names.size());
    names.push_back(command.name);
  }
  std::string suggestion = DidYouMean(name, names);
  if (suggestion.empty()) suggestion = absl::StrCat("; known are ", absl::StrJoin(names, ", "));
  return absl::InvalidArgumentError(absl::StrCat("unknown command \"", name, "\"", suggestion));
}

std::string CommandHelp(const std::string& program, const CommandSpec& command) {
  std::string usage = absl::StrCat("Usage: ", program, " ", command.name);
  std::vector<std::pair<std::string, std::string>> arguments;
  for (const PositionalSpec& positional : command.positionals) {
    absl::StrAppend(&usage, positional.optional ? " [" : " ", positional.name,
                    positional.repeated ? "…" : "", positional.optional ? "]" : "");
    arguments.emplace_back(positional.name, positional.help);
  }
  std::vector<std::pair<std::string, std::string>> flags;
  for (const FlagSpec& flag : AllFlags(command)) {
    flags.emplace_back(absl::StrCat("--", flag.name, flag.value.empty() ? "" : " ", flag.value),
                       absl::StrCat(flag.help, flag.repeated ? " (may be repeated)" : ""));
  }
  std::string help = absl::StrCat(usage, " [FLAGS]\n", command.summary, "\n");
  if (!arguments.empty()) absl::StrAppend(&help, "\nArguments:\n", Columns(arguments));
  absl::StrAppend(&help, "\nFlags:\n", Columns(flags));
  return help;
}

std::string ProgramHelp(const std::string& program, const std::string& summary,
                        const std::vector<CommandSpec>& commands) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const CommandSpec& command : commands) rows.emplace_back(command.name, command.summary);
  return absl::StrCat("Usage: ", program, " COMMAND [ARGUMENTS]\n", summary, "\n\nCommands:\n",
                      Columns(rows), "\n", program, " COMMAND --help says more about one.\n");
}

}  // namespace r1
