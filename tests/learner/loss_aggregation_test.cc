// How token losses become one number: weights against the formulas of the header, and that the
// weighted sum does not see how an update is cut.

#include "learner/algorithms/loss_aggregation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "common/rng.h"

namespace r1::learner {
namespace {

using testing::HasSubstr;

const std::vector<std::string>& Names() {
  static const auto* names = new std::vector<std::string>{
      "token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"};
  return *names;
}

constexpr int64_t kResponseTokensMax = 50;

using Losses = std::vector<std::vector<double>>;  // [sequences][tokens]

Losses RandomLosses(uint64_t seed) {
  Rng rng(seed, 0, RngPurpose::kTest, 0, 0);
  Losses losses(1 + rng.NextBelow(20));
  for (auto& sequence : losses) {
    sequence.resize(1 + rng.NextBelow(kResponseTokensMax));
    for (double& loss : sequence) loss = 2 * rng.NextUniform() - 1;
  }
  return losses;
}

// The formula as it is written, over whole sequences.
double Oracle(const std::string& name, const Losses& losses) {
  const auto sequences = static_cast<double>(losses.size());
  double tokens = 0, total = 0, sequence_sums = 0, sequence_means = 0;
  for (const auto& sequence : losses) {
    const double sum = std::accumulate(sequence.begin(), sequence.end(), 0.0);
    tokens += static_cast<double>(sequence.size());
    total += sum;
    sequence_sums += sum / sequences;
    sequence_means += sum / static_cast<double>(sequence.size()) / sequences;
  }
  if (name == "token-mean") return total / tokens;
  if (name == "seq-mean-token-sum") return sequence_sums;
  if (name == "seq-mean-token-mean") return sequence_means;
  return sequence_sums / static_cast<double>(kResponseTokensMax);
}

LossDenominators DenominatorsOf(const Losses& losses) {
  LossDenominators denominators{.sequences = static_cast<int64_t>(losses.size()),
                                .response_tokens_max = kResponseTokensMax};
  for (const auto& sequence : losses) denominators.tokens += static_cast<int64_t>(sequence.size());
  return denominators;
}

TEST(LossAggregationTest, EveryModeIsItsFormulaHoweverTheUpdateIsCut) {
  for (const std::string& name : Names()) {
    const absl::StatusOr<LossAggregation> aggregation = ParseLossAggregation(name);
    ASSERT_TRUE(aggregation.ok()) << aggregation.status();
    for (uint64_t seed = 1; seed <= 100; ++seed) {
      const Losses losses = RandomLosses(seed);
      const LossDenominators denominators = DenominatorsOf(losses);
      for (const size_t parts : {size_t{1}, size_t{2}, size_t{3}, losses.size()}) {
        // Micro-batches of one rank, or ranks: each sums its own sequences.
        std::vector<double> sums(parts);
        for (size_t s = 0; s < losses.size(); ++s) {
          const double weight =
              TokenWeight(*aggregation, static_cast<int64_t>(losses[s].size()), denominators);
          for (const double loss : losses[s]) sums[s % parts] += weight * loss;
        }
        EXPECT_NEAR(std::accumulate(sums.begin(), sums.end(), 0.0), Oracle(name, losses), 1e-12)
            << name << " in " << parts << " parts, seed " << seed;
      }
    }
  }
}

TEST(LossAggregationTest, WeightsOfOneExample) {
  // Two sequences of 3 and 5 tokens.
  const LossDenominators denominators{.sequences = 2, .tokens = 8, .response_tokens_max = 10};
  EXPECT_DOUBLE_EQ(TokenWeight(LossAggregation::kTokenMean, 3, denominators), 1.0 / 8);
  EXPECT_DOUBLE_EQ(TokenWeight(LossAggregation::kSeqMeanTokenSum, 3, denominators), 1.0 / 2);
  EXPECT_DOUBLE_EQ(TokenWeight(LossAggregation::kSeqMeanTokenMean, 3, denominators), 1.0 / 6);
  EXPECT_DOUBLE_EQ(TokenWeight(LossAggregation::kSeqMeanTokenMean, 5, denominators), 1.0 / 10);
  EXPECT_DOUBLE_EQ(TokenWeight(LossAggregation::kSeqMeanTokenSumNorm, 3, denominators), 1.0 / 20);
}

TEST(LossAggregationTest, AnUnknownNameIsAnErrorThatListsTheKnownOnes) {
  const absl::StatusOr<LossAggregation> aggregation = ParseLossAggregation("seq-mean");
  EXPECT_EQ(aggregation.status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& name : Names()) {
    EXPECT_THAT(aggregation.status().message(), HasSubstr(name));
  }
  EXPECT_THAT(aggregation.status().message(), HasSubstr("\"seq-mean\""));
}

}  // namespace
}  // namespace r1::learner
