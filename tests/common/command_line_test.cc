// Subcommands' words, and the nearest name that errors suggest.

#include "common/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/nearest_name.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

CommandSpec RunCommand() {
  return {.name = "run",
          .summary = "Trains a model.",
          .positionals = {{.name = "CONFIG", .help = "TOML file"},
                          {.name = "LOG", .help = "log file", .optional = true}},
          .flags = {{.name = "set",
                     .value = "KEY=VALUE",
                     .help = "overrides a key of the config",
                     .repeated = true},
                    {.name = "limit", .value = "N", .help = "stops after N steps"},
                    {.name = "dry-run", .value = "", .help = "starts nothing"}}};
}

std::string Error(const std::vector<std::string>& arguments) {
  const absl::StatusOr<ParsedCommand> parsed = ParseCommand(RunCommand(), arguments);
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

TEST(CommandLineTest, FlagsAndPositionalsInAnyOrder) {
  const absl::StatusOr<ParsedCommand> parsed = ParseCommand(
      RunCommand(), {"--set", "a=1", "x.toml", "--dry-run", "--set=b=2=3", "--limit", "-4"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->positionals(), ElementsAre("x.toml"));
  EXPECT_THAT(parsed->Values("set"), ElementsAre("a=1", "b=2=3"));
  EXPECT_TRUE(parsed->Has("dry-run"));
  EXPECT_FALSE(parsed->Has("help"));
  EXPECT_EQ(parsed->Value("limit"), "-4");
  EXPECT_EQ(*parsed->IntegerValue("limit", 0, -10, 10), -4);
}

TEST(CommandLineTest, AbsentFlagsHaveTheirDefault) {
  const absl::StatusOr<ParsedCommand> parsed = ParseCommand(RunCommand(), {"x.toml"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_THAT(parsed->Values("set"), IsEmpty());
  EXPECT_EQ(parsed->Value("limit", "none"), "none");
  EXPECT_EQ(*parsed->IntegerValue("limit", 7, 0, 10), 7);
}

TEST(CommandLineTest, DoubleDashEndsFlagsAndADashIsAFile) {
  const absl::StatusOr<ParsedCommand> parsed = ParseCommand(RunCommand(), {"-", "--", "--dry-run"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->positionals(), ElementsAre("-", "--dry-run"));
  EXPECT_FALSE(parsed->Has("dry-run"));
}

TEST(CommandLineTest, WhatFollowsAnotherProgramsNameIsLeftToIt) {
  const CommandSpec command = {
      .name = "bench",
      .summary = "",
      .positionals = {{.name = "BENCHMARK", .help = "", .ends_flags = true},
                      {.name = "ARGUMENTS", .help = "", .optional = true, .repeated = true}},
      .flags = {{.name = "json", .help = ""}}};
  const absl::StatusOr<ParsedCommand> parsed =
      ParseCommand(command, {"--json", "rewards", "--code", "--help", "a", "--", "-h"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->Has("json"));
  EXPECT_FALSE(parsed->Has("help"));
  EXPECT_THAT(parsed->positionals(), ElementsAre("rewards", "--code", "--help", "a", "--", "-h"));
  EXPECT_THAT(CommandHelp("r1", command),
              testing::StartsWith("Usage: r1 bench BENCHMARK [ARGUMENTS…] [FLAGS]\n"));
}

TEST(CommandLineTest, HelpDemandsNothingElse) {
  for (const std::string flag : {"--help", "-h"}) {
    const absl::StatusOr<ParsedCommand> parsed = ParseCommand(RunCommand(), {flag});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(parsed->Has("help"));
  }
}

TEST(CommandLineTest, EachMistakeIsNamed) {
  EXPECT_EQ(Error({"x.toml", "--dryrun"}),
            "unknown flag \"--dryrun\"; did you mean \"--dry-run\"?");
  EXPECT_EQ(Error({"x.toml", "--sett=a=1"}), "unknown flag \"--sett\"; did you mean \"--set\"?");
  EXPECT_EQ(Error({"x.toml", "-x"}),
            "unknown flag \"-x\"; known are --set, --limit, --dry-run, --help");
  EXPECT_EQ(Error({}), "expected CONFIG (TOML file), found nothing; see r1 run --help");
  EXPECT_EQ(Error({"a", "b", "c"}), "unexpected argument \"c\"; see r1 run --help");
  EXPECT_EQ(Error({"x.toml", "--set"}), "--set: expected KEY=VALUE, found nothing");
  EXPECT_EQ(Error({"x.toml", "--dry-run=yes"}), "--dry-run: takes no value");
  EXPECT_EQ(Error({"x.toml", "--limit=1", "--limit=2"}), "--limit: given twice");
}

TEST(CommandLineTest, IntegersAreChecked) {
  const absl::StatusOr<ParsedCommand> parsed =
      ParseCommand(RunCommand(), {"x.toml", "--limit", "many"});
  ASSERT_TRUE(parsed.ok());
  const absl::Status status = parsed->IntegerValue("limit", 0, 1, 8).status();
  EXPECT_EQ(status.message(), "--limit: expected an integer from 1 to 8, found \"many\"");
}

TEST(CommandLineTest, CommandsAreFoundByName) {
  const std::vector<CommandSpec> commands = {
      RunCommand(), {.name = "worker", .summary = "", .positionals = {}, .flags = {}}};
  EXPECT_EQ(*FindCommand(commands, "worker"), 1);
  EXPECT_EQ(FindCommand(commands, "wroker").status().message(),
            "unknown command \"wroker\"; did you mean \"worker\"?");
  EXPECT_EQ(FindCommand(commands, "zzz").status().message(),
            "unknown command \"zzz\"; known are run, worker");
}

TEST(CommandLineTest, HelpHasAlignedColumns) {
  EXPECT_EQ(CommandHelp("r1", RunCommand()),
            "Usage: r1 run CONFIG [LOG] [FLAGS]\n"
            "Trains a model.\n"
            "\n"
            "Arguments:\n"
            "  CONFIG  TOML file\n"
            "  LOG     log file\n"
            "\n"
            "Flags:\n"
            "  --set KEY=VALUE  overrides a key of the config (may be repeated)\n"
            "  --limit N        stops after N steps\n"
            "  --dry-run        starts nothing\n"
            "  --help           prints this\n");
  EXPECT_EQ(ProgramHelp("r1", "Trains reasoning models.", {RunCommand()}),
            "Usage: r1 COMMAND [ARGUMENTS]\n"
            "Trains reasoning models.\n"
            "\n"
            "Commands:\n"
            "  run  Trains a model.\n"
            "\n"
            "r1 COMMAND --help says more about one.\n");
}

TEST(CommandLineTest, LongHelpIsWrappedUnderItsColumn) {
  CommandSpec command = {.name = "x", .summary = "", .positionals = {}, .flags = {}};
  std::string help;
  for (int i = 0; i < 30; ++i) help += "words ";
  command.flags = {{.name = "f", .value = "", .help = help + "end"}};
  const std::string text = CommandHelp("r1", command);
  size_t start = text.find("Flags:\n") + 7;
  const size_t first_end = text.find('\n', start);
  EXPECT_LE(first_end - start, 100u);
  EXPECT_EQ(text.substr(first_end + 1, 16), "          words ");
}

TEST(NearestNameTest, DistanceCountsSlips) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("seed", "seed"), 0);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("seed", "sed"), 1);
  EXPECT_EQ(EditDistance("seed", "sede"), 1);  // a swap is one slip
  EXPECT_EQ(EditDistance("seed", "sxxd"), 2);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
}

TEST(NearestNameTest, OnlyWhatIsNearIsSuggested) {
  EXPECT_EQ(NearestNameOrEmpty("wokers", {"threads", "workers"}), "workers");
  EXPECT_EQ(NearestNameOrEmpty("batch", {"threads", "workers"}), "");
  EXPECT_EQ(NearestNameOrEmpty("ab", {"ax", "ay"}), "ax");
  EXPECT_EQ(NearestNameOrEmpty(std::string(100000, 'x'), {std::string(100000, 'x')}), "");
}

}  // namespace
}  // namespace r1
