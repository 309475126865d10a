// What lies between the matrix products of a layer, in one pass over a token's channels: the
// residual stream takes in a result, or begins with the token's embedding, and is normalised for
// the next product (1910.07467).
//
//   residual[t] += delta[t], or the sum of its parts, or of experts' weighted results, or
//   residual[t] = embedding[tokens[t]]
//   y[t] = residual[t] / sqrt(mean of its squares + eps) * weight
//
// Rounding: the residual stream is fp32, all else bf16; squares are summed in fp32 in an order that
// depends on D alone, so a row's bits do not depend on other rows.
//
// Shape letters: T rows, D model, V vocabulary.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/moe_results.h"

namespace r1::kernels {

inline constexpr int kResidualNormHiddenMax = 16384;

struct ResidualNormBf16Args {
  int rows = 0;               // T
  int hidden = 0;             // D, a multiple of 8
  float* residual = nullptr;  // [T, D]
  // Either both of the first two, or one of the others, or none.
  const int32_t* tokens = nullptr;           // [T]
  const __nv_bfloat16* embedding = nullptr;  // [V, D]
  const __nv_bfloat16* delta = nullptr;      // [T, D]
  const float* delta_parts = nullptr;        // [part_count], part_stride apart, each [T, D]
  int part_count = 0;
  int64_t part_stride = 0;  // a multiple of 4
  MoeResults experts = {};
  // Takes only these rows of residual and delta or its parts, which are not written then; null: 0,
  // 1, 2, …
  const int32_t* row_ids = nullptr;  // [T]
  const float* weight = nullptr;     // [D]
  float eps = 0;
  __nv_bfloat16* y = nullptr;  // [T, D]
};

// cudaErrorInvalidValue for sizes outside the limits above.
[[nodiscard]] cudaError_t ResidualNormBf16Sm90(const ResidualNormBf16Args& args,
                                               cudaStream_t stream);

}  // namespace r1::kernels
