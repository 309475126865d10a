// What grouped-query attention does with its projections before it attends: adds their bias,
// normalises every query and key head, rotates both, writes keys and values into the paged cache
// and the queries in one piece. Bias and norms may be left out.
//
// Rounding: bf16 in and out, fp32 between; sums of squares in an order that depends on K alone.
// Rotation as in kernels/rope.h. A row's bits do not depend on other rows.
//
// Shape letters: T rows, H heads, N key heads, K channels of a head.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/grouped_cache_layout.h"

namespace r1::kernels {

struct GqaInputBf16Args {
  int rows = 0;      // T >= 1
  int heads = 0;     // H
  int kv_heads = 0;  // N
  int head_dim = 0;  // K
  // [T] rows of H queries, N keys and N values, input_stride apart, a multiple of 8.
  const __nv_bfloat16* input = nullptr;
  int64_t input_stride = 0;
  const float* bias = nullptr;  // [(H + 2 N) * K]; null = none
  // [K] each; null = none.
  const float* query_norm = nullptr;
  const float* key_norm = nullptr;
  float eps = 0;                       // of both norms
  const int32_t* positions = nullptr;  // [T]
  const float* rope_table = nullptr;   // MakeRopeTable of K channels
  bool interleaved = false;
  __nv_bfloat16* query = nullptr;  // [T, H, K]
  uint8_t* cache = nullptr;        // blocks of N * GroupedHeadBytes(K)
  // [T]: block * kGroupedBlockTokens + token in the block; negative = no keys and values are
  // written.
  const int32_t* slots = nullptr;
};

// cudaErrorInvalidValue for sizes or strides outside the limits above.
[[nodiscard]] cudaError_t GqaInputBf16Sm90(const GqaInputBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
