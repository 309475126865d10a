#include "common/evaluation/estimators.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/rng.h"

namespace r1 {
namespace {

// One letter a sample: its answer, '-' for none; capitals are correct.
using Samples = std::vector<char>;

std::vector<AnswerClass> Classes(const Samples& samples, int64_t* silent) {
  std::vector<AnswerClass> classes;
  std::vector<char> names;
  *silent = 0;
  for (const char answer : samples) {
    if (answer == '-') {
      ++*silent;
      continue;
    }
    size_t i = 0;
    while (i < names.size() && names[i] != answer) ++i;
    if (i == names.size()) {
      names.push_back(answer);
      classes.push_back({.votes = 0, .correct = answer < 'a' ? 1.0 : 0.0});
    }
    ++classes[i].votes;
  }
  return classes;
}

// The mean of `value` over all subsets of k samples.
template <typename Value>
double OverSubsets(const Samples& samples, int64_t k, const Value& value) {
  double sum = 0;
  double subsets = 0;
  for (uint32_t mask = 0; mask < 1u << samples.size(); ++mask) {
    Samples drawn;
    for (size_t i = 0; i < samples.size(); ++i) {
      if (mask >> i & 1) drawn.push_back(samples[i]);
    }
    if (static_cast<int64_t>(drawn.size()) != k) continue;
    sum += value(drawn);
    subsets += 1;
  }
  return sum / subsets;
}

double Consensus(const Samples& samples) {
  int64_t silent = 0;
  return ConsensusOfVotes(Classes(samples, &silent));
}

Samples RandomSamples(Rng& rng) {
  Samples samples(1 + rng.NextBelow(9));
  for (char& answer : samples) answer = "Aabc-"[rng.NextBelow(5)];
  return samples;
}

TEST(PassAtKTest, HandComputedValues) {
  EXPECT_DOUBLE_EQ(PassAtK(1, 0, 1), 0);
  EXPECT_DOUBLE_EQ(PassAtK(1, 1, 1), 1);
  EXPECT_DOUBLE_EQ(PassAtK(4, 1, 2), 0.5);  // 1 - C(3,2) / C(4,2)
  EXPECT_DOUBLE_EQ(PassAtK(5, 2, 2), 0.7);  // 1 - 3 / 10
  EXPECT_DOUBLE_EQ(PassAtK(5, 4, 2), 1);    // no two wrong ones
  EXPECT_NEAR(PassAtK(64, 16, 1), 0.25, 1e-15);
  EXPECT_NEAR(PassAtK(200, 3, 100), 1 - 970200.0 / 7880400.0, 1e-15);
  EXPECT_NEAR(PassAtK(1024, 512, 512), 1, 1e-15);
}

// What openai/human-eval computes: its README's sanity check, six samples of which three pass, and
// values of estimate_pass_at_k in human_eval/evaluation.py (commit 9d3aa8b), recomputed.
TEST(PassAtKTest, HumanEvalsValues) {
  EXPECT_DOUBLE_EQ(PassAtK(6, 3, 1), 0.4999999999999999);
  EXPECT_DOUBLE_EQ(PassAtK(200, 10, 10), 0.40854786608141724);
  EXPECT_DOUBLE_EQ(PassAtK(200, 57, 10), 0.9681899279258002);
  EXPECT_DOUBLE_EQ(PassAtK(64, 5, 8), 0.4990084611316763);
}

TEST(PassAtKTest, IsTheMeanOverSubsets) {
  for (int n = 1; n <= 9; ++n) {
    for (int c = 0; c <= n; ++c) {
      Samples samples(static_cast<size_t>(n), 'a');
      std::fill_n(samples.begin(), c, 'A');
      for (int k = 1; k <= n; ++k) {
        const double expected = OverSubsets(samples, k, [](const Samples& drawn) {
          return std::count(drawn.begin(), drawn.end(), 'A') > 0 ? 1.0 : 0.0;
        });
        EXPECT_NEAR(PassAtK(n, c, k), expected, 1e-12) << n << " " << c << " " << k;
      }
    }
  }
}

TEST(ConsensusTest, HandComputedVotes) {
  EXPECT_DOUBLE_EQ(Consensus({'A', 'A', 'b'}), 1);
  EXPECT_DOUBLE_EQ(Consensus({'A', 'b', 'b'}), 0);
  EXPECT_DOUBLE_EQ(Consensus({'A', 'b'}), 0.5);           // a tie of two
  EXPECT_DOUBLE_EQ(Consensus({'A', 'b', 'c'}), 1.0 / 3);  // of three
  EXPECT_DOUBLE_EQ(Consensus({'A', '-', '-', '-'}), 1);   // who gives no answer does not vote
  EXPECT_DOUBLE_EQ(Consensus({'-', '-'}), 0);
  EXPECT_DOUBLE_EQ(Consensus({'A', 'A', 'b', 'b', 'c'}), 0.5);
}

TEST(ConsensusTest, ExpectedConsensusIsTheMeanOverSubsets) {
  Rng rng(7, 0, RngPurpose::kTest, 0, 0);
  for (int round = 0; round < 200; ++round) {
    const Samples samples = RandomSamples(rng);
    int64_t silent = 0;
    const std::vector<AnswerClass> classes = Classes(samples, &silent);
    for (int64_t k = 1; k <= static_cast<int64_t>(samples.size()); ++k) {
      EXPECT_NEAR(ExpectedConsensus(classes, silent, k), OverSubsets(samples, k, Consensus), 1e-12)
          << std::string(samples.begin(), samples.end()) << " k " << k;
    }
  }
}

TEST(ConsensusTest, EndsOfExpectedConsensus) {
  const std::vector<AnswerClass> classes = {
      {.votes = 20, .correct = 1}, {.votes = 30, .correct = 0}, {.votes = 10, .correct = 0}};
  EXPECT_NEAR(ExpectedConsensus(classes, 4, 1), 20.0 / 64, 1e-12);  // one vote: pass@1
  EXPECT_NEAR(ExpectedConsensus(classes, 4, 64), ConsensusOfVotes(classes), 1e-12);
  // The largest counts stay finite.
  const std::vector<AnswerClass> large = {{.votes = 512, .correct = 1},
                                          {.votes = 512, .correct = 0}};
  EXPECT_NEAR(ExpectedConsensus(large, 0, 33), 0.5, 1e-9);
}

TEST(BootstrapTest, CoversATrueMeanAboutAsOftenAsItSays) {
  constexpr int kExperiments = 300;
  int covered = 0;
  for (uint64_t experiment = 0; experiment < kExperiments; ++experiment) {
    Rng rng(experiment, 0, RngPurpose::kTest, 1, 0);
    std::vector<double> values(40);
    for (double& value : values) value = rng.NextUniform() < 0.4 ? 1 : 0;
    const Interval interval = BootstrapShareInterval(values, experiment);
    covered += interval.low <= 0.4 && 0.4 <= interval.high ? 1 : 0;
  }
  // 95 % of 300 is 285; three standard deviations are 11, and the percentile method falls a little
  // short with 40 values.
  EXPECT_GE(covered, 265);
  EXPECT_LE(covered, 297);
}

TEST(BootstrapTest, MatchesTheNormalIntervalOfAMean) {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(i % 4 == 0 ? 1 : 0);
  const Interval interval = BootstrapMeanInterval(values, 1);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  EXPECT_NEAR(interval.low, 0.25 - half, 0.006);
  EXPECT_NEAR(interval.high, 0.25 + half, 0.006);
}

TEST(BootstrapTest, IsAFunctionOfItsArguments) {
  const std::vector<double> values = {0, 0.23, 1, 0.57, 0, 0.91, 0.34, 0.77};
  const Interval first = BootstrapMeanInterval(values, 3);
  const Interval again = BootstrapMeanInterval(values, 3);
  const Interval other = BootstrapMeanInterval(values, 4);
  EXPECT_EQ(first.low, again.low);
  EXPECT_EQ(first.high, again.high);
  EXPECT_NE(first.low + first.high, other.low + other.high);
}

TEST(BootstrapTest, EqualValuesAtAnEndHaveWilsonsInterval) {
  const Interval all = BootstrapShareInterval(std::vector<double>(30, 1.0), 1);
  EXPECT_DOUBLE_EQ(all.high, 1);
  EXPECT_NEAR(all.low, 0.8865, 1e-4);  // 30 of 30: n / (n + z^2)
  const Interval none = BootstrapShareInterval(std::vector<double>(30, 0.0), 1);
  EXPECT_DOUBLE_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 1 - 0.8865, 1e-4);
  const Interval middle = BootstrapShareInterval(std::vector<double>(30, 0.5), 1);
  EXPECT_DOUBLE_EQ(middle.low, 0.5);
  EXPECT_DOUBLE_EQ(middle.high, 0.5);
}

}  // namespace
}  // namespace r1
