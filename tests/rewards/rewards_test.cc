// Each reward's own rules, and the built-in task scored by them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/tasks/task.h"
#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

using testing::HasSubstr;

struct Sample {
  std::string response;
  std::string answer = "17";
  bool finished = true;
  bool think_prefilled = false;
};

// "1 match", "0 mismatch", "masked no_gold_answer".
std::string ScoreText(const std::string& name, const Sample& sample) {
  RewardInput input;
  input.response = sample.response;
  input.answer = sample.answer;
  input.finished = sample.finished;
  input.think_prefilled = sample.think_prefilled;
  const Score score = (*MakeReward(name))->ScoreSample(input);
  return (score.masked       ? "masked"
          : score.value == 1 ? "1"
          : score.value == 0 ? "0"
                             : "?") +
         (" " + score.reason);
}

TEST(FormatTest, OnlyTheWholeFormScores) {
  const std::pair<const char*, const char*> kCases[] = {
      {"<think>a</think><answer>b</answer>", "1 match"},
      {"<think></think><answer></answer>", "1 match"},
      {"<think>a\nb</think><answer>\n</answer>", "1 match"},
      {"", "0 no_think_open"},
      {" <think>a</think><answer>b</answer>", "0 no_think_open"},
      {"a</think><answer>b</answer>", "0 no_think_open"},
      {"<think>a<answer>b</answer>", "0 no_think_close"},
      {"<think>a", "0 no_think_close"},
      {"<think>a < b</think><answer>b</answer>", "1 match"},
      {"<think>a</thin</think><answer><b></answer>", "1 match"},
      {"<think>a</think> \t\r\n<answer>b</answer>\n\n", "1 match"},
      {"<think><think>a</think><answer>b</answer>", "0 no_think_close"},
      {"<think>a</think>b", "0 no_answer_open"},
      {"<think>a</think>\n<answer>b</answer>", "1 match"},
      {"<think>a</think>\u00a0<answer>b</answer>", "0 no_answer_open"},
      {"<think>a</think>so <answer>b</answer>", "0 no_answer_open"},
      {"<think>a</think></think><answer>b</answer>", "0 no_answer_open"},
      {"<think>a</think><answer>b", "0 no_answer_close"},
      {"<think>a</think><answer>b</answe", "0 no_answer_close"},
      {"<think>a</think><answer><answer>b</answer>", "0 no_answer_close"},
      {"<think>a</think><answer>b<think></answer>", "0 no_answer_close"},
      {"<think>a</think><answer>b</answer>.", "0 text_after_answer"},
      {"<think>a</think><answer>b</answer><answer>b</answer>", "0 text_after_answer"},
  };
  for (const auto& [response, expected] : kCases)
    EXPECT_EQ(ScoreText("format", {response}), expected) << response;
}

TEST(FormatTest, AResponseThatWasCutNeverScores) {
  EXPECT_EQ(
      ScoreText("format", {.response = "<think>a</think><answer>b</answer>", .finished = false}),
      "0 unfinished");
}

TEST(FormatTest, APrefilledThinkIsNotRepeated) {
  const auto score = [](const std::string& response) {
    return ScoreText("format", {.response = response, .think_prefilled = true});
  };
  EXPECT_EQ(score("a</think><answer>b</answer>"), "1 match");
  EXPECT_EQ(score("</think><answer>b</answer>"), "1 match");
  EXPECT_EQ(score("<think>a</think><answer>b</answer>"), "0 no_think_close");
}

TEST(FormatTest, PartialCreditCountsTheTagsThatOccurOnce) {
  v1::RewardConfig config;
  config.set_name("format");
  config.mutable_format()->set_partial_credit(true);
  const auto reward = *MakeReward(config);
  const auto score = [&reward](const std::string& response, bool think_prefilled = false,
                               bool finished = true) {
    RewardInput input;
    input.response = response;
    input.think_prefilled = think_prefilled;
    input.finished = finished;
    return reward->ScoreSample(input).value;
  };
  EXPECT_EQ(score("<think>a</think><answer>b</answer>"), 1);
  EXPECT_EQ(score("17"), 0);
  EXPECT_EQ(score("<think>a"), 0.25);
  EXPECT_EQ(score("<think>a</think>17"), 0.5);
  EXPECT_EQ(score("<think>a</think><answer>17"), 0.75);
  EXPECT_EQ(score("<think>a</think><answer>17</answer>."), 0.75);  // the form is missed
  EXPECT_EQ(score("</answer><answer></think><think>"), 0.75);
  EXPECT_EQ(score("<think><think>a</think><answer>b</answer>"), 0.75);
  EXPECT_EQ(score("<think>a</think><answer>b</answer><answer>b</answer>"), 0.5);
  EXPECT_EQ(score("a", true), 0.25);
  EXPECT_EQ(score("<think>a</think><answer>b</answer>", true), 0.75);
  EXPECT_EQ(score("<think>a</think><answer>17", false, false), 0);
}

TEST(ExactMatchTest, TheAnswerMustBeTheGoldOne) {
  const auto score = [](const std::string& answer, const std::string& gold) {
    return ScoreText("exact_match", {.response = "<think>x</think><answer>" + answer + "</answer>",
                                     .answer = gold});
  };
  EXPECT_EQ(score("17", "17"), "1 match");
  EXPECT_EQ(score(" 17\n", "17"), "1 match");
  EXPECT_EQ(score("0", "0"), "1 match");
  EXPECT_EQ(score("", "17"), "0 empty_answer");
  EXPECT_EQ(score(" ", "17"), "0 empty_answer");
  for (const char* wrong :
       {"18", "017", "17.0", "17.", "$17", "+17", "1 7", "17 18", "7", "171", "１７"}) {
    EXPECT_EQ(score(wrong, "17"), "0 mismatch") << wrong;
  }
}

TEST(ExactMatchTest, CommasOfThousandsDoNotMatter) {
  const auto score = [](const std::string& answer, const std::string& gold) {
    return ScoreText("exact_match", {.response = "<think>x</think><answer>" + answer + "</answer>",
                                     .answer = gold});
  };
  EXPECT_EQ(score("1,234", "1234"), "1 match");
  EXPECT_EQ(score("1234", "1,234"), "1 match");
  EXPECT_EQ(score("-1,234,567.5", "-1234567.5"), "1 match");
  EXPECT_EQ(score("1,234", "1,234"), "1 match");
  for (const char* wrong :
       {"12,34", "1,23,4", "1,2345", ",1234", "1234,", "1,234,", "(1,234)", "1,234.", "1,234x"}) {
    EXPECT_EQ(score(wrong, "1234"), "0 mismatch") << wrong;
  }
  EXPECT_EQ(score("12", "1,2"), "0 mismatch");  // a pair, not a number
  EXPECT_EQ(score("1,2", "1,2"), "1 match");
}

TEST(ExactMatchTest, TheFormIsPartOfIt) {
  EXPECT_EQ(ScoreText("exact_match", {"17"}), "0 no_think_open");
  EXPECT_EQ(ScoreText("exact_match", {"<think>17</think><answer>18</answer>"}), "0 mismatch");
  EXPECT_EQ(ScoreText("exact_match", {"<think>a</think><answer>17</answer><answer>18</answer>"}),
            "0 text_after_answer");
  EXPECT_EQ(ScoreText("exact_match",
                      {.response = "<think>a</think><answer>17</answer>", .finished = false}),
            "0 unfinished");
  EXPECT_EQ(ScoreText("exact_match",
                      {.response = "a</think><answer>17</answer>", .think_prefilled = true}),
            "1 match");
}

TEST(ExactMatchTest, ASampleWithoutAGoldAnswerIsMasked) {
  for (const char* gold : {"", " \n"}) {
    EXPECT_EQ(
        ScoreText("exact_match", {.response = "<think>a</think><answer></answer>", .answer = gold}),
        "masked no_gold_answer");
  }
}

TEST(TextbookTest, TheWholeWorkingMustBeThere) {
  const std::string gold = "7+5=12\n12-3=9\n9+8=17";
  const auto score = [&gold](const std::string& response) {
    return ScoreText("textbook", {.response = response, .answer = gold});
  };
  EXPECT_EQ(score(gold), "1 match");
  EXPECT_EQ(score(gold + "\n"), "0 too_long");
  EXPECT_EQ(score("7+5=12\n12-3=9\n"), "0 too_short");
  EXPECT_EQ(score(""), "0 too_short");
  EXPECT_EQ(score("7+5=13\n13-3=10\n10+8=18"), "0 mismatch_in_line_1");
  EXPECT_EQ(score("7+5=12\n12-3=9\n9+8=18"), "0 mismatch_in_line_3");
  EXPECT_EQ(ScoreText("textbook", {.response = gold, .answer = gold, .finished = false}),
            "0 unfinished");
  EXPECT_EQ(ScoreText("textbook", {.response = "", .answer = ""}), "masked no_gold_answer");
}

TEST(CoinFlipTest, IsAFairCoinOfTheSamplesIdentityAlone) {
  const auto coin = *MakeReward("coin_flip");
  int heads = 0, changed_by_group = 0, changed_by_stage = 0, changed_by_seed = 0;
  for (uint64_t group = 0; group < 1000; ++group) {
    for (uint32_t sample = 0; sample < 10; ++sample) {
      RewardInput input;
      input.run_seed = 1;
      input.stage_index = 2;
      input.group_id = group;
      input.sample_index = sample;
      const double value = coin->ScoreSample(input).value;
      heads += value == 1 ? 1 : 0;
      input.response = "<think>a</think><answer>17</answer>";
      input.answer = "17";
      EXPECT_EQ(coin->ScoreSample(input).value, value);
      RewardInput other = input;
      other.group_id += 5000;
      changed_by_group += coin->ScoreSample(other).value != value;
      other = input;
      other.stage_index = 3;
      changed_by_stage += coin->ScoreSample(other).value != value;
      other = input;
      other.run_seed = 2;
      changed_by_seed += coin->ScoreSample(other).value != value;
    }
  }
  for (const int count : {heads, changed_by_group, changed_by_stage, changed_by_seed}) {
    EXPECT_NEAR(count, 5000, 300);  // six standard deviations
  }
}

TEST(ChainTaskTest, DemonstrationsScoreFullMarksAndDocumentsAsTheyDeserve) {
  const auto chain = *MakeTask("chain");
  for (uint64_t i = 0; i < 300; ++i) {
    const TextRow row = chain->Demonstration(1, 0, i);
    const std::string answer = row.completion.substr(
        row.completion.find("<answer>") + 8,
        row.completion.rfind("</answer>") - row.completion.find("<answer>") - 8);
    EXPECT_EQ(ScoreText("format", {row.completion}), "1 match");
    EXPECT_EQ(ScoreText("exact_match", {.response = row.completion, .answer = answer}), "1 match");
    const PromptRow textbook = chain->TextbookPrompt(Split::kDev, i);
    EXPECT_EQ(ScoreText("textbook", {.response = textbook.answer, .answer = textbook.answer}),
              "1 match");
  }
  int right_form = 0, questions = 0;
  for (uint64_t i = 0; i < 4000; ++i) {
    const TextRow row = chain->Document(1, 0, i);
    if (row.prompt.back() == '\n') continue;
    ++questions;
    right_form += ScoreText("format", {row.completion}) == "1 match" ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(right_form) / questions, 0.30, 0.06);
}

TEST(MakeRewardTest, AnUnknownNameGetsTheNearestAndAllKnown) {
  const absl::Status status = MakeReward("exactmatch").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("length, math, multiple_choice, numeral_consistency, overlong, readable, "
                        "repetition, tag_count, textbook, found \"exactmatch\"; did you mean "
                        "\"exact_match\"?"));
}

}  // namespace
}  // namespace r1::rewards
