// Which experts a token goes to (DeepSeek-V3, 2412.19437 §2.1.2):
//   score  = sigmoid(x · router^T)
//   choice = score + bias
//   weight = score / (sum of the taken scores + 1e-20) * scaling
// The bias steers the choice, never the weight. A group's score is the sum of its two highest
// choices (or its only one); the best groups are kept, the others count as -inf. The experts with
// the highest choices are taken; equal choices, and equal groups, go to the lower id.
//
// Rounding: fp32; logits as in matmul.h, sigmoid(x) = 1 / (1 + e^-x) with e^x of error below 1 ulp,
// the taken scores are summed in the order of their ids.
//
// Shape letters: T tokens, E experts, A active experts.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace r1::kernels {

inline constexpr int kExpertsMax = 512;
inline constexpr int kActiveExpertsMax = 32;

struct MoeRouterArgs {
  const float* x = nullptr;  // [T, D]
  int64_t x_stride = 0;
  PackedMatrix router;          // n = E <= kExpertsMax
  const float* bias = nullptr;  // [E]
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
