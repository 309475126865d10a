// What the experts of a layer made of each token, before it is added up: where
// MoeExpertsBf16Sm90 leaves it and what takes it in.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace r1::kernels {

// Shape letters: T tokens, A active experts, S shared experts, D model.
struct MoeResults {
  const __nv_bfloat16* results = nullptr;  // [T * (A + S), D], in the order of the work; null: none
  const int* places = nullptr;             // [T, A + S]: where a token's are, active experts' first
  const float* weights = nullptr;          // [T, A]; those of shared experts are 1
  int active = 0;                          // A
  int shared = 0;                          // S
};

}  // namespace r1::kernels
