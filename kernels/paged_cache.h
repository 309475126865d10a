// The KV cache of one layer, as the attention operators read it: blocks of tokens in any order. A
// sequence names its blocks by a table; see rollout/engine/block_manager.h.
//
// How attention is cut along the context is stated here, because it fixes the rounding: segments of
// kAttentionSegmentTokens positions of the sequence, whatever the size of a block.
#pragma once

#include <cstdint>

namespace r1::kernels {

inline constexpr int kAttentionSegmentTokens = 256;

// Blocks of [block_tokens][width], a row a token.
struct PagedCache {
  float* blocks = nullptr;
  int64_t block_stride = 0;  // floats between blocks; at least block_tokens * width
  int block_tokens = 0;
  int width = 0;
};

}  // namespace r1::kernels
