#include "learner/algorithms/loss_aggregation.h"

#include "absl/strings/str_cat.h"

namespace r1::learner {

absl::StatusOr<LossAggregation> ParseLossAggregation(const std::string& name) {
  if (name == "token-mean") return LossAggregation::kTokenMean;
  if (name == "seq-mean-token-sum") return LossAggregation::kSeqMeanTokenSum;
  if (name == "seq-mean-token-mean") return LossAggregation::kSeqMeanTokenMean;
  if (name == "seq-mean-token-sum-norm") return LossAggregation::kSeqMeanTokenSumNorm;
  return absl::InvalidArgumentError(
      absl::StrCat("loss_aggregation: expected token-mean, seq-mean-token-sum, seq-mean-token-mean "
                   "or seq-mean-token-sum-norm, found \"",
                   name, "\""));
}

double TokenWeight(LossAggregation aggregation, int64_t tokens,
                   const LossDenominators& denominators) {
  R1_CHECK(tokens > 0 && denominators.sequences > 0 && denominators.tokens > 0);
  const auto sequences = static_cast<double>(denominators.sequences);
  switch (aggregation) {
    case LossAggregation::kTokenMean:
      return 1 / static_cast<double>(denominators.tokens);
    case LossAggregation::kSeqMeanTokenSum:
      return 1 / sequences;
    case LossAggregation::kSeqMeanTokenMean:
      return 1 / (sequences * static_cast<double>(tokens));
    case LossAggregation::kSeqMeanTokenSumNorm:
      R1_CHECK(denominators.response_tokens_max > 0);
      return 1 / (sequences * static_cast<double>(denominators.response_tokens_max));
  }
  R1_CHECK(false);
  return 0;
}

}  // namespace r1::learner
