// Causal grouped-query attention of the rows of prompts on Hopper, over the paged cache: a row at
// position p of its sequence attends the tokens 0 … p. Rows of many sequences at once, each with
// its own first position, so that prompts may come in chunks.
//
// Rounding and order of the sums: as prefill_attention_bf16_sm90.h says. So a row's bits depend on
// its own query, position and context alone.
//
// Shape letters: T rows, H heads, N key heads, K channels of a head.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/grouped_cache_layout.h"
#include "kernels/cuda/prefill_tile.h"

namespace r1::kernels {

struct GqaPrefillBf16Args {
  int rows = 0;                           // T; what lies in no tile is neither used nor written
  int heads = 0;                          // H, a multiple of N
  int kv_heads = 0;                       // N
  int head_dim = 0;                       // K
  const __nv_bfloat16* q = nullptr;       // [T, H, K], rotated
  const uint8_t* cache = nullptr;         // blocks of N * GroupedHeadBytes(K)
  const int32_t* block_tables = nullptr;  // [T, table_stride]: blocks of each row's context
  int table_stride = 0;
  // On the GPU, those with the longest contexts first. Keys are no matrix: first_key is not used.
  const PrefillTile* tiles = nullptr;
  int tile_count = 0;
  float scale = 0;               // of the scores, before softmax; above 0
  __nv_bfloat16* out = nullptr;  // [T, H, K]
};

// cudaErrorInvalidValue for sizes outside the limits above.
[[nodiscard]] cudaError_t GqaPrefillBf16Sm90(const GqaPrefillBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
