// Grouped-query attention (2305.13245) over a paged cache: heads / kv_heads neighbouring query
// heads share a key and a value head. The cache holds one row a token, for each key head its
// rotated key, then its value. Every query row attends the first `context` tokens of its own block
// table, so prefill, chunked prefill and decode are one function with one result.
//
// Rounding: as in mla_decode.h.
//
// Shape letters: H heads, N key heads, K channels of a head.
#pragma once

#include <cstdint>

#include "kernels/paged_cache.h"

namespace r1::kernels {

struct GqaDecodeArgs {
  const float* q = nullptr;  // [rows][H][K], rotated
  int64_t q_stride = 0;
  PagedCache cache;  // rows of [N][key, value][K]
  // [rows], each with at least ceil(context / block_tokens) blocks.
  const int32_t* const* block_tables = nullptr;
  const int32_t* contexts = nullptr;  // [rows], at least 1
  int row_count = 0;
  int heads = 0;     // H, a multiple of kv_heads
  int kv_heads = 0;  // N
  int head_dim = 0;  // K
  float scale = 0;
  float* out = nullptr;  // [rows][H][K]
  int64_t out_stride = 0;
};

void GqaDecodeReference(const GqaDecodeArgs& args);
void GqaDecodeFp32Avx2(const GqaDecodeArgs& args);
void GqaDecodeFp32Avx512(const GqaDecodeArgs& args);

}  // namespace r1::kernels
