// Reward plugins that are processes: the contract by each route, and what can go wrong before the
// first sample. tests/rewards/reward_client_test.cc has the gRPC route.

#include <fstream>

#include "rewards/plugin/child_process.h"
#include "rewards/plugin/protocol.h"
#include "tests/rewards/plugin_contract.h"

namespace r1::rewards {
namespace {

using testing::HasSubstr;

const PluginRouteCase kPython = {"python", [](v1::RewardPluginConfig& plugin) {
                                   plugin.set_python("tests/rewards/plugins/contract.py:score");
                                 }};
const PluginRouteCase kCommand = {"command", [](v1::RewardPluginConfig& plugin) {
                                    plugin.add_command("python3");
                                    plugin.add_command("tests/rewards/plugins/contract_command.py");
                                  }};
const PluginRouteCase kLibrary = {
    "library", [](v1::RewardPluginConfig& plugin) { plugin.set_library(R1_CONTRACT_LIBRARY); }};

INSTANTIATE_TEST_SUITE_P(Processes, PluginContract, testing::Values(kPython, kCommand, kLibrary),
                         [](const auto& info) { return info.param.name; });

absl::Status MakeStatus(const std::function<void(v1::RewardPluginConfig&)>& set_place,
                        const std::string& name = "judge") {
  v1::RewardConfig config = PluginConfig({"", set_place});
  config.set_name(name);
  return MakeReward(config).status();
}

TEST(MakePluginRewardTest, WhatIsWrongWithTheConfigIsSaidAtOnce) {
  const struct {
    std::function<void(v1::RewardPluginConfig&)> set_place;
    std::string message;
  } kCases[] = {
      {[](auto&) {}, "expected one of python, command, library and address, found none"},
      {[](auto& plugin) {
         plugin.set_python("a.py:score");
         plugin.set_library("b.so");
       },
       "found python, library"},
      {[](auto& plugin) { plugin.set_python("no_such.py:score"); }, "\"no_such.py\""},
      {[](auto& plugin) { plugin.set_python("tests/rewards/plugins/contract.py"); },
       "expected FILE.py:FUNCTION"},
      {[](auto& plugin) { plugin.set_library("./no_such.so"); }, "\"./no_such.so\""},
      {[](auto& plugin) { plugin.add_command("./no_such_program"); }, "\"./no_such_program\""},
  };
  for (const auto& [set_place, message] : kCases) {
    const absl::Status status = MakeStatus(set_place);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
  EXPECT_THAT(std::string(MakeStatus(kPython.set_place, "math").message()),
              HasSubstr("found that of the built-in \"math\""));
}

std::string StartError(const std::function<void(v1::RewardPluginConfig&)>& set_place) {
  v1::RewardConfig config = PluginConfig({"", set_place});
  config.mutable_plugin()->set_attempts(1);
  const Score score = ScoreResponse(**MakeReward(config), "half");
  EXPECT_EQ(score.reason, kRewardError);
  return score.error;
}

TEST(PluginStartTest, APluginThatDoesNotStartSaysWhy) {
  EXPECT_THAT(StartError([](auto& plugin) { plugin.add_command("no_such_program_in_path"); }),
              HasSubstr("cannot execute"));
  EXPECT_THAT(StartError([](auto& plugin) { plugin.add_command("true"); }),
              HasSubstr("exit code 0"));
  EXPECT_THAT(StartError([](auto& plugin) { plugin.add_command("cat"); }),
              testing::Not(HasSubstr("cannot start: the plugin's line: r1_reward")));
  EXPECT_THAT(StartError([](auto& plugin) {
                plugin.set_python("tests/rewards/plugins/contract.py:no_such_function");
              }),
              HasSubstr("expected a function no_such_function"));
  EXPECT_THAT(StartError([](auto& plugin) { plugin.set_library("tests/rewards/plugin_test.cc"); }),
              HasSubstr("invalid ELF header"));
  EXPECT_THAT(StartError([](auto& plugin) {
                plugin.set_library(R1_CONTRACT_LIBRARY);
                plugin.set_config_json("{}");
              }),
              HasSubstr("r1_reward_init failed: no value in {}"));
}

TEST(ChildProcessTest, AReplyThatIsTooLongEndsTheExchange) {
  const auto child = *ChildProcess::Start({"yes", std::string(1000, 'x')});
  const auto reply = child->Exchange("", 10, 500);
  EXPECT_FALSE(reply.ok());
}

TEST(ChildProcessTest, AProcessThatReadsNothingMeetsTheDeadline) {
  const auto child = *ChildProcess::Start({"sleep", "60"});
  EXPECT_EQ(child->Exchange(std::string(1 << 20, 'x'), 0.2, 500).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(ChildProcessTest, ItsEndAndItsLastWordsAreToldToTheReader) {
  const auto child = *ChildProcess::Start({"sh", "-c", "echo so long >&2; kill -9 $$"});
  const absl::Status status = child->Exchange("x", 10, 500).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("signal 9"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("so long"));
}

TEST(ProtocolTest, RepliesAreReadStrictly) {
  const std::pair<const char*, const char*> kBad[] = {
      {"", "syntax error"},
      {"[]", "expected an object"},
      {"{\"id\": 8, \"scores\": [1]}", "id: expected 7, found 8"},
      {"{\"id\": 7}", "scores: expected an array of 1 elements"},
      {"{\"id\": 7, \"scores\": []}", "an array of 1 elements"},
      {"{\"id\": 7, \"scores\": [NaN]}", "syntax error"},
  };
  for (const auto& [line, message] : kBad) {
    EXPECT_THAT(std::string(ParseReply(line, 7, 1).status().message()), HasSubstr(message)) << line;
  }
  const std::pair<const char*, const char*> kBadScores[] = {
      {"null", "a finite number"},
      {"true", "a finite number"},
      {"\"1\"", "a finite number"},
      {"{}", "score: expected a finite number"},
      {"{\"value\": 1}", "\"value\""},
      {"{\"score\": \"1\"}", "score: expected"},
      {"{\"error\": \"x\"}", "x"},
      {"{\"score\": 1, \"reason\": 2}", "reason: expected"},
      {"{\"score\": 1, \"parts\": [1]}", "parts: expected an object"},
      {"{\"score\": 1, \"parts\": {\"\": 1}}", "names of 1 to"},
      {"{\"score\": 1, \"parts\": {\"a\": null}}", "parts.a: expected"},
  };
  for (const auto& [score, message] : kBadScores) {
    const auto reply = ParseReply(absl::StrCat("{\"id\": 7, \"scores\": [", score, "]}"), 7, 1);
    ASSERT_TRUE(reply.ok()) << score;
    EXPECT_THAT((*reply)[0].error, HasSubstr(message)) << score;
  }
}

TEST(ProtocolTest, RequestsAndRepliesComeBackAsTheyWere) {
  const RewardInput input = EchoSample();
  const std::vector<const RewardInput*> inputs = {&input};
  const Request request = *ParseRequest(RequestLine(3, 1.5, inputs));
  EXPECT_EQ(request.id, 3);
  EXPECT_EQ(request.timeout_ms, 1500);
  ASSERT_EQ(request.samples.size(), 1u);
  EXPECT_EQ(request.samples[0].prompt, input.prompt);
  EXPECT_EQ(request.samples[0].columns_json, "{\"level\":3}");
  EXPECT_EQ(request.samples[0].n_tokens, 9);
  std::vector<Score> scores(2);
  scores[0] = {.value = -0.25, .reason = "a", .parts = {{"x", 1}, {"y", -2}}};
  scores[1] = ErrorScore(kRewardError, "why");
  const std::vector<Score> back = *ParseReply(ReplyLine(3, scores), 3, 2);
  EXPECT_EQ(back[0].value, -0.25);
  EXPECT_EQ(back[0].parts, scores[0].parts);
  EXPECT_EQ(back[1].error, "why");
  EXPECT_EQ(*ParseHello(HelloLine("judge", "{\"a\": 1}")), "{\"a\":1}");
}

}  // namespace
}  // namespace r1::rewards
