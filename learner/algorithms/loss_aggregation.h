// How token losses become one number (config grpo.loss_aggregation; the names are verl's). Every
// aggregation is a weighted sum over all tokens of the update, on all ranks; the weight of a token
// depends on its sequence's length and on global denominators, so micro-batches and ranks may be
// cut in any way. Torch-free.
//
// With S sequences of n_s tokens, T = sum n_s, L = response_tokens_max:
//   token-mean              sum_s sum_t loss / T                  (DAPO)
//   seq-mean-token-sum      sum_s sum_t loss / S
//   seq-mean-token-mean     sum_s (sum_t loss / n_s) / S          (DeepSeekMath, DeepSeek-R1)
//   seq-mean-token-sum-norm sum_s (sum_t loss / L) / S            (Dr.GRPO)
#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"

namespace r1::learner {

enum class LossAggregation {
  kTokenMean,
  kSeqMeanTokenSum,
  kSeqMeanTokenMean,
  kSeqMeanTokenSumNorm
};

// InvalidArgument lists the names.
[[nodiscard]] absl::StatusOr<LossAggregation> ParseLossAggregation(const std::string& name);

// Over all ranks of an update. Sequences of groups without signal count when they are kept.
struct LossDenominators {
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t response_tokens_max = 0;
};

// Weight of each token of a sequence of `tokens` target tokens.
double TokenWeight(LossAggregation aggregation, int64_t tokens,
                   const LossDenominators& denominators);

}  // namespace r1::learner
