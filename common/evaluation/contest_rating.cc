#include "common/evaluation/contest_rating.h"

#include <cmath>
#include <cstddef>
#include <iterator>

#include "common/status.h"

namespace r1 {
namespace {

constexpr int kBisections = 60;

struct PublishedPair {
  double rating;
  double percentile;
};
// DeepSeek-R1, Nature 2025, table 2: R1-Zero, R1 Dev1, Dev2, Dev3, R1.
constexpr PublishedPair kPublishedPairs[] = {
    {1444, 80.4}, {1534, 84.5}, {1687, 90.5}, {1746, 92.1}, {2029, 96.3}};

double LogOdds(double percentile) { return std::log(percentile / (100 - percentile)); }

double SolveChance(double contestant, double problem) {
  return 1 / (1 + std::pow(10, (problem - contestant) / 400));
}

}  // namespace

double ContestRating(std::span<const RatedResult> results) {
  R1_CHECK(!results.empty());
  double solved = 0;
  for (const RatedResult& result : results) solved += result.solved;
  // The expected number rises with the rating, so its place is found by halving.
  double low = kContestRatingMin;
  double high = kContestRatingMax;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    double expected = 0;
    for (const RatedResult& result : results) expected += SolveChance(middle, result.rating);
    (expected < solved ? low : high) = middle;
  }
  return (low + high) / 2;
}

double RatingPercentile(double rating) {
  size_t above = 1;
  while (above + 1 < std::size(kPublishedPairs) && kPublishedPairs[above].rating < rating) ++above;
  const PublishedPair& low = kPublishedPairs[above - 1];
  const PublishedPair& high = kPublishedPairs[above];
  const double share = (rating - low.rating) / (high.rating - low.rating);
  const double odds =
      LogOdds(low.percentile) + share * (LogOdds(high.percentile) - LogOdds(low.percentile));
  return 100 / (1 + std::exp(-odds));
}

}  // namespace r1
