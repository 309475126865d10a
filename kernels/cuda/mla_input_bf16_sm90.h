// What latent attention does with its projections before it attends, besides the absorbed product:
// normalises the latent, rotates the shared key, writes both into the paged cache; normalises a
// compressed query; rotates the rotary part of every head's query. Any of these may be left out.
//
// Rounding: bf16 in and out, fp32 between; sums of squares in an order that depends on the sizes
// alone. Rotation as in kernels/rope.h. A row's bits do not depend on other rows.
//
// Shape letters: T rows, H heads, L = 512 latent channels, R = 64 rotary channels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/latent_cache_layout.h"

namespace r1::kernels {

struct MlaInputBf16Args {
  int rows = 0;                        // T >= 1
  const int32_t* positions = nullptr;  // [T]
  const float* rope_table = nullptr;   // MakeRopeTable of R channels
  bool interleaved = true;
  float eps = 0;  // of both norms

  // The latent and the shared key behind it; null = none. Strides are multiples of 8.
  const __nv_bfloat16* latent = nullptr;  // [T, L + R]
  int64_t latent_stride = 0;
  const float* latent_norm = nullptr;  // [L]
  uint8_t* cache = nullptr;            // blocks of kCacheBlockBytes
  // [T]: block * kLatentBlockTokens + token in the block; negative = nothing is written.
  const int32_t* slots = nullptr;

  // The compressed query; null = none.
  const __nv_bfloat16* query_latent = nullptr;  // [T, query_rank]
  int64_t query_latent_stride = 0;
  int query_rank = 0;                     // a multiple of 8
  const float* query_norm = nullptr;      // [query_rank]
  __nv_bfloat16* query_normed = nullptr;  // [T, query_rank], rows query_normed_stride apart
  int64_t query_normed_stride = 0;

  // The rotary parts of the queries; null = none.
  const __nv_bfloat16* query =
      nullptr;  // row t, head h at t * query_stride + h * query_head_stride
  int64_t query_stride = 0;
  int64_t query_head_stride = 0;
  int heads = 0;                     // H
  __nv_bfloat16* rotated = nullptr;  // likewise
  int64_t rotated_stride = 0;
  int64_t rotated_head_stride = 0;

  // The inputs were complete when the kernel before this one let it start
  // (DenseBf16Args::next_starts_with_x): it runs beside that one and waits for it at its end.
  bool beside = false;
};

// cudaErrorInvalidValue for sizes or strides outside the limits above.
[[nodiscard]] cudaError_t MlaInputBf16Sm90(const MlaInputBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
