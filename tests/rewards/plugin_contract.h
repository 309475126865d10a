// What every reward plugin meets, whatever its route. Each route brings a plugin whose behaviour
// the response chooses:
//
//   half            0.5, reason "half way", parts {"a": 0.25}
//   config          the number under "value" in config_json
//   echo            1 when the other fields of the sample are those of EchoSample()
//   throw           an exception, or what is one in that language
//   crash, hang     the process ends, or does nothing for a minute
//   crash_once PATH crashes when the file PATH is not there, after making it; then as half
//   nan, range      not a number; 7
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/config_schema.h"
#include "rewards/reward.h"

namespace r1::rewards {

struct PluginRouteCase {
  std::string name;
  std::function<void(v1::RewardPluginConfig& plugin)> set_place;
};

inline v1::RewardConfig PluginConfig(const PluginRouteCase& route) {
  v1::RewardConfig config;
  config.set_name("judge");
  v1::RewardPluginConfig& plugin = *config.mutable_plugin();
  FillDefaults(plugin);
  plugin.set_config_json("{\"value\": 0.75}");
  plugin.set_timeout_seconds(20);
  route.set_place(plugin);
  return config;
}

inline RewardInput EchoSample() {
  RewardInput input;
  input.prompt = "12 + 5 = \"?\"\n";
  input.response = "echo";
  input.prediction = "17";
  input.answer = "1\t7";
  input.language = "fr";
  input.columns_json = "{\"level\":3}";
  input.finished = false;
  input.think_prefilled = true;
  input.n_tokens = 9;
  return input;
}

inline Score ScoreResponse(const Reward& reward, const std::string& response) {
  RewardInput input;
  input.response = response;
  input.columns_json = "{}";
  return reward.ScoreSample(input);
}

class PluginContract : public testing::TestWithParam<PluginRouteCase> {
 protected:
  void ExpectScoresHalf(const Reward& reward, const std::string& response = "half") {
    const Score score = ScoreResponse(reward, response);
    EXPECT_EQ(score.error, "");
    EXPECT_EQ(score.value, 0.5);
    EXPECT_EQ(score.reason, "half_way");
    EXPECT_THAT(score.parts, testing::ElementsAre(testing::Pair("a", 0.25)));
  }
  void ExpectOwes(const Reward& reward, const std::string& response) {
    const Score score = ScoreResponse(reward, response);
    EXPECT_TRUE(score.masked) << response;
    EXPECT_EQ(score.value, 0) << response;
    EXPECT_EQ(score.reason, kRewardError) << response;
    EXPECT_THAT(score.error, testing::HasSubstr("after 2 attempts")) << response;
  }

  v1::RewardConfig config_ = PluginConfig(GetParam());
};

TEST_P(PluginContract, GoodSamplesAreScored) {
  const auto reward = *MakeReward(config_);
  for (int i = 0; i < 3; ++i) ExpectScoresHalf(*reward);
  EXPECT_EQ(ScoreResponse(*reward, "config").value, 0.75);
  const Score echo = reward->ScoreSample(EchoSample());
  EXPECT_EQ(echo.value, 1) << echo.reason << echo.error;
  EXPECT_FALSE(reward->deterministic());
}

TEST_P(PluginContract, WhatFailsIsNeverAScoreAndTheNextSampleIsScored) {
  const auto reward = *MakeReward(config_);
  for (const char* bad : {"throw", "crash", "nan", "range"}) {
    ExpectOwes(*reward, bad);
    ExpectScoresHalf(*reward);
  }
}

TEST_P(PluginContract, AHangEndsAtItsDeadline) {
  config_.mutable_plugin()->set_timeout_seconds(0.5);
  const auto reward = *MakeReward(config_);
  const double begin = RealClock().MonotonicSeconds();
  ExpectOwes(*reward, "hang");
  EXPECT_LT(RealClock().MonotonicSeconds() - begin, 30);
}

TEST_P(PluginContract, ACrashIsTriedAgain) {
  const std::string marker = (std::filesystem::temp_directory_path() /
                              absl::StrCat("r1_plugin_contract_", GetParam().name, "_", getpid()))
                                 .string();
  config_.mutable_plugin()->set_instances(2);
  ExpectScoresHalf(**MakeReward(config_), absl::StrCat("crash_once ", marker));
  EXPECT_EQ(unlink(marker.c_str()), 0);
}

TEST_P(PluginContract, OneThatCrashesTakesNobodyWithIt) {
  config_.mutable_plugin()->set_instances(2);
  const auto reward = *MakeReward(config_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, &reward, t] {
      for (int i = 0; i < 10; ++i) {
        if (t == 3 && i == 2) {
          ExpectOwes(*reward, "crash");
        } else {
          ExpectScoresHalf(*reward);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(PluginContract, TheDeclaredRangeIsTheRewards) {
  config_.mutable_plugin()->set_score_max(10);
  const auto reward = *MakeReward(config_);
  EXPECT_EQ(reward->range().max, 10);
  EXPECT_EQ(ScoreResponse(*reward, "range").value, 7);
}

TEST_P(PluginContract, AMegabyteOfAnyBytesArrives) {
  const auto reward = *MakeReward(config_);
  std::string response = "half";
  for (int i = 0; i < 1 << 18; ++i) response += "\xff\"\n\\";
  // The plugins look at the first word.
  ExpectScoresHalf(*reward, "half " + response);
}

}  // namespace r1::rewards
