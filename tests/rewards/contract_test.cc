// What every registered reward must hold to, whatever the model wrote: a value in its range, a
// printable reason, the same score for the same input, from any thread, in linear time. A new
// reward is under test by being registered.

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "rewards/reward.h"

namespace r1::rewards {
namespace {

std::string Repeated(const std::string& piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

const std::vector<std::string>& Responses() {
  static const auto* const responses = new std::vector<std::string>{
      "",
      "17",
      "<think>7+5=12\n12+5=17</think><answer>17</answer>",
      "<think></think><answer>17</answer>",
      "<think></think><answer></answer>",
      "<think>a</think>\n<answer>17</answer>\n",
      "<think><think>a</think></think><answer>17</answer>",
      "<think>a</think><answer>17</answer><answer>18</answer>",
      "<answer>17</answer><think>a</think>",
      "<answer>17</answer>",
      "</think><answer>17</answer>",
      "<think>a</think><answer>17",
      "<think>a</think><answer>\\boxed{17} \\boxed{18}</answer>",
      "<think>a</think><answer>17 or 18</answer>",
      "<think>a</think><answer> \t17\n</answer>",
      "<think>a</think><answer>１７</answer>",      // full-width digits
      "<think>a</think><answer>17\u200b</answer>",  // zero-width space
      "<think>a</think><answer>1,7</answer>",
      "<THINK>a</THINK><ANSWER>17</ANSWER>",
      "<think>sys.exit(0)</think><answer>__import__('os')._exit(0)</answer>",
      "%s%n{prompt}{answer}",
      std::string("<think>\0</think><answer>17\0</answer>", 37),
      std::string(3, '\0'),
      "\xff\xfe<think>\x80</think><answer>\xC3</answer>",
      std::string(1 << 20, '<'),
      std::string(1 << 20, '1'),
      "<think>" + std::string(1 << 20, 'a') + "</think><answer>17</answer>",
      "<think>a</think><answer>" + std::string(1 << 20, '9') + "</answer>",
      "<think>a</think><answer>" + Repeated("1,000,", 200000) + "000</answer>",
      "<think>a</think><answer>17" + std::string(1 << 20, ' ') + "</answer>",
      Repeated("<think>", 100000),
      Repeated("<think></think><answer>17</answer>", 30000),
      Repeated("</think><answer>", 60000),
      Repeated("$ \\( \\[ $$ ", 100000),
      Repeated("\\begin{a}{", 100000),
      Repeated("`", 1 << 20),
      Repeated("the word ", 120000),
      Repeated("\u6211\u4eec ", 150000),
      Repeated("<think>(A) ", 100000),
  };
  return *responses;
}

const std::vector<std::string>& Answers() {
  static const auto* const answers = new std::vector<std::string>{"17",
                                                                  "",
                                                                  " ",
                                                                  "1,234",
                                                                  "<answer>",
                                                                  "7+5=12\n12+5=17",
                                                                  std::string("1\0", 2),
                                                                  "\xff",
                                                                  std::string(1 << 18, '1')};
  return *answers;
}

// Long responses are for the bounds on time and memory; they meet few of the answers.
constexpr size_t kLongBytes = 10000;

// Calls `visit` with every combination.
template <typename Visit>
void ForEachInput(const Visit& visit) {
  for (const std::string& response : Responses()) {
    for (const std::string& answer : Answers()) {
      if (response.size() > kLongBytes && answer != "17") continue;
      for (int flags = 0; flags < 4; ++flags) {
        if (response.size() > kLongBytes && flags != 1) continue;
        RewardInput input;
        input.prompt = "7+5+5=";
        input.response = response;
        input.finished = (flags & 1) != 0;
        input.think_prefilled = (flags & 2) != 0;
        input.answer = answer;
        input.columns_json = "{}";
        if (input.finished) input.n_tokens = static_cast<int64_t>(response.size());
        input.run_seed = 1;
        input.group_id = response.size();
        visit(input);
      }
    }
  }
}

class ContractTest : public testing::TestWithParam<std::string> {
 protected:
  const std::unique_ptr<Reward> reward_ = *MakeReward(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Rewards, ContractTest, testing::ValuesIn(RewardRegistry::Names()));

TEST_P(ContractTest, ScoresAreInRangeWithAReason) {
  ForEachInput([this](const RewardInput& input) {
    const Score score = reward_->ScoreSample(input);
    EXPECT_GE(score.value, reward_->range().min);
    EXPECT_LE(score.value, reward_->range().max);
    EXPECT_FALSE(score.reason.empty());
    EXPECT_LT(score.reason.size(), 100u);
    for (const char c : score.reason) EXPECT_TRUE(c > ' ' && c <= '~') << score.reason;
    if (score.masked) {
      EXPECT_EQ(score.value, 0);
    }
    EXPECT_TRUE(score.masked || score.error.empty()) << score.error;
  });
}

TEST_P(ContractTest, EqualInputsScoreAlikeInEveryThreadAndInstance) {
  // Rewards that are not deterministic have nothing to run here: the columns are empty.
  const auto score_all = [](const Reward& reward) {
    std::vector<std::string> scores;
    ForEachInput([&](const RewardInput& input) {
      const Score score = reward.ScoreSample(input);
      scores.push_back(std::to_string(score.value) + score.reason +
                       (score.masked ? " masked" : ""));
    });
    return scores;
  };
  const std::vector<std::string> expected = score_all(**MakeReward(GetParam()));
  std::vector<std::vector<std::string>> found(4);
  std::vector<std::thread> threads;
  for (auto& scores : found) {
    threads.emplace_back([&] { scores = score_all(*reward_); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& scores : found) EXPECT_EQ(scores, expected);
}

// The work is bounded by the input's length: a megabyte takes milliseconds. The limit leaves room
// for a sanitizer; quadratic work would take minutes.
TEST_P(ContractTest, AMegabyteTakesNoTime) {
  for (const std::string& response : Responses()) {
    RewardInput input;
    input.response = response;
    input.answer = "17";
    const std::clock_t start = std::clock();  // processor time, whatever else the machine does
    (void)reward_->ScoreSample(input);
    EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC) << response.substr(0, 60);
  }
}

}  // namespace
}  // namespace r1::rewards
