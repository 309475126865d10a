// Which experts a token goes to. With logits = x · router^T,
//   kSigmoidBias (DeepSeek-V3, 2412.19437 §2.1.2): score = sigmoid(logit), choice = score + bias
//   kSoftmax (DeepSeek-V2, 2405.04434 §2.2; Qwen3): score = choice = softmax(logits)
//   weight = score / (sum of the taken scores + 1e-20) * scaling
// The bias steers the choice, never the weight. A group's score is its highest choice under
// kSoftmax, the sum of its two highest (or its only one) under kSigmoidBias; the best groups are
// kept, the others count as -inf. The experts with the highest choices are taken; equal choices,
// and equal groups, go to the lower id. The 1e-20 keeps vanishing sigmoids from dividing by zero;
// the highest of a softmax is at least 1 / E, to which it adds nothing.
//
// Rounding: fp32; logits as in matmul.h, sigmoid(x) = 1 / (1 + e^-x) with e^x of error below 1 ulp,
// softmax = e^(x - maximum) * (1 / sum) with the sum in 16 lanes as in rms_norm.h; the taken scores
// are summed in the order of their ids.
//
// Shape letters: T tokens, E experts, A active experts.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace r1::kernels {

inline constexpr int kExpertsMax = 512;
inline constexpr int kActiveExpertsMax = 32;

enum class RouterGate { kSigmoidBias, kSoftmax };

struct MoeRouterArgs {
  const float* x = nullptr;  // [T, D]
  int64_t x_stride = 0;
  PackedMatrix router;  // n = E <= kExpertsMax
  RouterGate gate = RouterGate::kSigmoidBias;
  const float* bias = nullptr;  // [E], of kSigmoidBias
  int token_count = 0;          // T
  int active = 0;               // A <= kActiveExpertsMax
  int groups = 1;               // of equal size; divides E
  int groups_kept = 1;
  bool normalize = true;
  float scaling = 1;
  int32_t* experts = nullptr;  // [T, A], ascending in each row
  float* weights = nullptr;    // [T, A]
};

// The choice itself, from the scores [E] of one token.
void ChooseExperts(const MoeRouterArgs& args, const float* scores, int32_t* experts,
                   float* weights);
// Its parts, for kernels that do the middle one faster: sets the choices [E] of all but the best
// groups to -inf; takes the experts; gives the taken ones their weights.
void KeepBestGroups(const MoeRouterArgs& args, float* choices);
void WeighExperts(const MoeRouterArgs& args, const float* scores, const int32_t* experts,
                  float* weights);

void MoeRouterReference(const MoeRouterArgs& args);
void MoeRouterFp32Avx2(const MoeRouterArgs& args);
void MoeRouterFp32Avx512(const MoeRouterArgs& args);

}  // namespace r1::kernels
