#include "common/evaluation/contest_rating.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/rng.h"

namespace r1 {
namespace {

double Chance(double contestant, double problem) {
  return 1 / (1 + std::pow(10, (problem - contestant) / 400));
}

// Problems of 800 to 3500, as Codeforces rates them.
std::vector<RatedResult> Problems(int count) {
  std::vector<RatedResult> results;
  for (int i = 0; i < count; ++i) results.push_back({800 + 100.0 * (i % 28), 0});
  return results;
}

TEST(ContestRatingTest, HandComputedRatings) {
  // Half of the attempts at one problem: its own rating.
  EXPECT_NEAR(ContestRating(std::vector<RatedResult>{{1500, 0.5}}), 1500, 1e-6);
  // 10 of 11: 1 / (1 + 10^(-400/400)).
  EXPECT_NEAR(ContestRating(std::vector<RatedResult>{{1500, 10.0 / 11}}), 1900, 1e-6);
  // One of two that lie symmetrically.
  EXPECT_NEAR(ContestRating(std::vector<RatedResult>{{1200, 1}, {1800, 0}}), 1500, 1e-6);
}

TEST(ContestRatingTest, EverythingOrNothingSolvedIsAnEndOfTheRange) {
  EXPECT_NEAR(ContestRating(std::vector<RatedResult>{{1500, 1}, {2000, 1}}), kContestRatingMax, 1);
  EXPECT_NEAR(ContestRating(std::vector<RatedResult>{{1500, 0}, {2000, 0}}), kContestRatingMin, 1);
}

// Contestants of known rating attempt every problem 16 times, as an evaluation does.
TEST(ContestRatingTest, FindsTheRatingOfSimulatedContestants) {
  constexpr int kAttempts = 16;
  for (const double truth : {700.0, 1200.0, 1600.0, 2029.0, 2700.0}) {
    double sum = 0;
    double squares = 0;
    constexpr int kContestants = 40;
    double information = 0;  // of one contestant: d^2 log L / dr^2
    for (int contestant = 0; contestant < kContestants; ++contestant) {
      Rng rng(static_cast<uint64_t>(truth), 0, RngPurpose::kTest, static_cast<uint64_t>(contestant),
              0);
      std::vector<RatedResult> results = Problems(280);
      information = 0;
      for (RatedResult& result : results) {
        const double chance = Chance(truth, result.rating);
        int solved = 0;
        for (int i = 0; i < kAttempts; ++i) solved += rng.NextUniform() < chance ? 1 : 0;
        result.solved = static_cast<double>(solved) / kAttempts;
        information += kAttempts * chance * (1 - chance) * std::pow(std::log(10.0) / 400, 2);
      }
      const double error = ContestRating(results) - truth;
      sum += error;
      squares += error * error;
    }
    const double deviation = 1 / std::sqrt(information);
    EXPECT_NEAR(sum / kContestants, 0, 4 * deviation / std::sqrt(kContestants)) << truth;
    EXPECT_NEAR(std::sqrt(squares / kContestants), deviation, 0.5 * deviation) << truth;
    EXPECT_LT(deviation, 40) << truth;
  }
}

TEST(RatingPercentileTest, PublishedPairsAndOrder) {
  EXPECT_NEAR(RatingPercentile(1444), 80.4, 1e-9);
  EXPECT_NEAR(RatingPercentile(1687), 90.5, 1e-9);
  EXPECT_NEAR(RatingPercentile(2029), 96.3, 1e-9);
  double last = 0;
  for (double rating = -1000; rating <= 4000; rating += 50) {
    const double percentile = RatingPercentile(rating);
    EXPECT_GT(percentile, last);
    EXPECT_LT(percentile, 100);
    last = percentile;
  }
  // Not among the fitted pairs: o1-1217, 2061, is 96.6 in the paper's first version, table 4.
  EXPECT_NEAR(RatingPercentile(2061), 96.6, 0.2);
}

}  // namespace
}  // namespace r1
