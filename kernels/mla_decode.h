// Attention of multi-head latent attention in absorbed form (DeepSeek-V2, 2405.04434 §2.1) over a
// paged latent cache. The cache holds one row a token, [normalised latent | rotated key]; all heads
// share it, and its latent part is also the value. Every query row attends the first `context`
// tokens of its own block table, so prefill, chunked prefill and decode are one function with one
// result.
//
// Rounding: fp32. Score: products are summed in 16 lanes (lane i takes the channels that are i
// modulo 16), then lane i with i + 8, i + 4, i + 2, i + 1; then times scale. The context is cut
// into segments of kAttentionSegmentTokens positions, merged in order with a running maximum;
// inside a segment the weighted sum is one chain of fused multiply-adds over its tokens, and the
// sum of weights is four chains by token modulo 4. e^x has an error below 1 ulp.
//
// Shape letters: H heads, L latent channels, R rotary channels.
#pragma once

#include <cstdint>

#include "kernels/paged_cache.h"

namespace r1::kernels {

struct MlaDecodeArgs {
  const float* q = nullptr;  // [rows][H][L + R]: absorbed query, then rotated query
  int64_t q_stride = 0;
  PagedCache cache;  // rows of L + R
  // [rows], each with at least ceil(context / block_tokens) blocks.
  const int32_t* const* block_tables = nullptr;
  const int32_t* contexts = nullptr;  // [rows], at least 1
  int row_count = 0;
  int heads = 0;   // H
  int latent = 0;  // L
  float scale = 0;
  float* out = nullptr;  // [rows][H][L]
  int64_t out_stride = 0;
};

void MlaDecodeReference(const MlaDecodeArgs& args);
void MlaDecodeFp32Avx2(const MlaDecodeArgs& args);
void MlaDecodeFp32Avx512(const MlaDecodeArgs& args);

}  // namespace r1::kernels
