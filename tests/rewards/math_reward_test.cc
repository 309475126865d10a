// The reward `math` on labelled rows (tests/fixtures/README.md), and its bounds on hostile ones.

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/json.h"
#include "common/jsonl.h"
#include "rewards/math/compare.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

Score MathScore(const std::string& response, const std::string& answer,
                const std::string& prediction = "") {
  static const Reward* const reward = MakeReward("math")->release();
  RewardInput input;
  input.response = response;
  input.prediction = prediction;
  input.answer = answer;
  return reward->ScoreSample(input);
}

std::vector<nlohmann::json> ReadFixture(const std::string& name) {
  auto reader = JsonlReader::Open(absl::StrCat("tests/fixtures/", name));
  R1_CHECK(reader.ok());
  std::vector<nlohmann::json> rows;
  for (JsonlRow row; *(*reader)->Next(row);) rows.push_back(row.object);
  return rows;
}

struct Tally {
  int rows = 0, right = 0, false_positives = 0;
};

Tally ScoreFixture(const std::string& name) {
  Tally tally;
  for (const nlohmann::json& row : ReadFixture(name)) {
    const Score score = MathScore(row.value("response", ""), row["answer"].get<std::string>(),
                                  row.value("prediction", ""));
    const bool verdict = score.value == 1, expected = row["expected"].get<bool>();
    EXPECT_EQ(verdict, expected) << row["id"] << " " << row["answer"] << ": " << score.reason;
    EXPECT_FALSE(score.masked) << row["answer"];
    ++tally.rows;
    tally.right += verdict == expected ? 1 : 0;
    tally.false_positives += verdict && !expected ? 1 : 0;
  }
  return tally;
}

TEST(MathRewardTest, AgreesWithLabelsOfModelOutputs) {
  const Tally tally = ScoreFixture("math_outputs.jsonl");
  EXPECT_GT(tally.rows, 100);
  EXPECT_EQ(tally.right, tally.rows);
}

TEST(MathRewardTest, AgreesWithLabelsOfHardPairs) {
  const Tally tally = ScoreFixture("math_hard.jsonl");
  EXPECT_GT(tally.rows, 100);
  EXPECT_EQ(tally.right, tally.rows);
  EXPECT_EQ(tally.false_positives, 0);
}

TEST(MathRewardTest, GoldsOfMath500EqualTheirOtherSpellings) {
  int spellings = 0;
  for (const nlohmann::json& row : ReadFixture("math500_answers.jsonl")) {
    const std::string gold = row["answer"];
    const std::vector<std::string> variants = {
        gold,
        absl::StrCat("$", gold, "$"),
        absl::StrCat("\\displaystyle ", gold, "."),
        absl::StrReplaceAll(gold, {{"\\dfrac", "\\tfrac"}, {"\\frac", "\\dfrac"}}),
        absl::StrReplaceAll(gold, {{"\\dfrac", "\\frac"}, {"\\frac", "\\tfrac"}}),
        absl::StrReplaceAll(gold, {{"+", " + "}, {"=", "  = "}, {"\\pi", "\\pi "}}),
        absl::StrReplaceAll(gold, {{"\\left", ""}, {"\\right", ""}}),
        absl::StrReplaceAll(gold, {{"-", "−"}, {"\\pi", "π"}, {"\\infty", "∞"}}),
    };
    for (const std::string& variant : variants) {
      const Score score = MathScore(absl::StrCat("So \\boxed{", variant, "}."), gold);
      EXPECT_EQ(score.value, 1) << gold << "   " << variant << ": " << score.reason;
      ++spellings;
    }
  }
  EXPECT_GT(spellings, 2000);
}

TEST(MathRewardTest, SaysWhyItScoresAsItDoes) {
  EXPECT_EQ(MathScore("\\boxed{5}", "5").reason, "equal");
  EXPECT_EQ(MathScore("\\boxed{5}", "6").reason, "different");
  EXPECT_EQ(MathScore("<think>5", "5").reason, "unclosed_think");
  EXPECT_EQ(MathScore("I give up", "5").reason, "no_answer");
  EXPECT_EQ(MathScore("\\boxed{\\frac{}}", "5").reason, "unparseable_answer");
  EXPECT_EQ(MathScore("\\boxed{2^{1000000}+1}", "2^{1000000}").reason, "undecided");
  EXPECT_EQ(MathScore("", "5", "5.0").reason, "equal");
}

TEST(MathRewardTest, GoldThatCannotBeReadMasksTheSample) {
  for (const char* gold : {"", "\\frac{1", "1 2"}) {
    for (const char* response : {"\\boxed{5}", "", "<think>"}) {
      EXPECT_TRUE(MathScore(response, gold).masked) << gold;
    }
  }
}

std::string Repeated(const std::string& piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

std::string Joined(const std::string& before, const std::string& after, int from, int to) {
  std::vector<std::string> terms;
  for (int k = from; k < to; ++k) terms.push_back(absl::StrCat(before, k, after));
  return absl::StrJoin(terms, "+");
}

// Outputs and answers that other verifiers take seconds or gigabytes for.
std::vector<std::pair<std::string, std::string>> HostilePairs() {
  const std::string many = Repeated("20000!\\cdot ", 300) + "1";
  return {
      {Repeated("{", 1000000), "1"},
      {"\\boxed{" + Repeated("{", 1000000) + "5" + Repeated("}", 1000001), "5"},
      {Repeated("\\boxed{", 150000) + "5" + Repeated("}", 150000), "5"},
      {"\\boxed{" + Repeated("(", 2000) + "1" + Repeated(")", 2000) + "}", "1"},
      {"\\boxed{9^{9^{9^9}}}", "9^{9^{9^8}}"},
      {"\\boxed{9^9^9^9}", "9"},
      {"\\boxed{" + Repeated("2^{", 190) + "2" + Repeated("}", 190) + "}", "3"},
      {Repeated("\\frac{1}{2}+", 90000), "1"},
      {"\\boxed{1000000!}", "10^{1000000}"},
      {"\\boxed{((((10!)!)!)!)!}", "1"},
      {"\\boxed{" + many + "}", "7"},
      {"\\boxed{" + Joined("", "!", 19000, 19400) + "}", "1"},
      {"\\boxed{" + Joined("\\sin{", "}", 2, 400) + "}", Joined("\\cos{", "}", 2, 400)},
      {"\\boxed{" + Joined("\\frac{1}{x+", "}", 0, 200) + "}", "x"},
      {"\\boxed{(a+b+c+d+x+y+z+w)^{128}}", "(a+b)^{128}"},
      {"\\boxed{" + Repeated("\\sin ", 150) + "x}", Repeated("\\cos ", 150) + "x"},
      {"\\boxed{\\binom{20000}{10000}\\binom{19999}{9999}}", "\\binom{19999}{9999}^2"},
      {"\\boxed{1e99999}", "1e99998"},
      {"\\boxed{" + Repeated("\\frac{1}{1e9999+1}+", 200) + "1}", "2"},
      {"\\boxed{" + Repeated("\\pm1", 900) + "}", "1"},
      {"\\boxed{" + Repeated("1,", 1900) + "1}", Repeated("1,", 1900) + "2"},
      {"\\boxed{x!!!!!}", "x!!!!"},
      {Repeated("$", 1000000), "1"},
      {Repeated("$a b c. $ ", 100000), "1"},
      {Repeated("the answer is ", 80000), "1"},
      {Repeated("answer is \\( ", 80000), "1"},
      {Repeated("\\text{", 150000), "1"},
      {Repeated("<think>", 150000), "1"},
      {Repeated("9", 1000000), "1"},
      {std::string(1000000, '\xE7'), "1"},
  };
}

TEST(MathRewardTest, HostileAnswersAreBounded) {
  for (const auto& [response, answer] : HostilePairs()) {
    timespec begin, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    const Score score = MathScore(response, answer);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    const double seconds = static_cast<double>(end.tv_sec - begin.tv_sec) +
                           1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec);
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(seconds, 0.25) << response.substr(0, 60) << ": " << score.reason;
#endif
    EXPECT_LT(seconds, 5) << response.substr(0, 60) << ": " << score.reason;
  }
}

TEST(MathRewardTest, ThreadsAgree) {
  const auto pairs = ReadFixture("math_hard.jsonl");
  std::vector<std::vector<double>> values(4);
  std::vector<std::thread> threads;
  for (std::vector<double>& mine : values) {
    threads.emplace_back([&pairs, &mine] {
      for (const nlohmann::json& row : pairs) {
        mine.push_back(MathScore("", row["answer"], row["prediction"]).value);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<double>& mine : values) EXPECT_EQ(mine, values[0]);
}

}  // namespace
}  // namespace r1::rewards
