// Causal attention of the rows of prompts on Hopper, every head with its own keys and values: a row
// at position p of its sequence attends the tokens 0 … p. Rows of many sequences at once, each with
// its own first position, so that prompts may come in chunks. A key is 128 channels of its head and
// 64 that all heads share (latent attention, multiplied out); a value is 128 channels.
//
// Rounding: bf16 in and out; fp32 scores and sums; probabilities are rounded to bf16 before they
// weigh the values. Tokens are taken in blocks of 128 that begin at multiples of 128, in order,
// with a running maximum. So a row's bits depend on its own query, position and context alone:
// neither on the tile it lies in nor on chunks or neighbours. Relative error about 2e-3 against
// exact arithmetic on the same bf16 inputs.
//
// Shape letters: T rows, H heads, S rows of keys (the contexts of all sequences).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/prefill_tile.h"

namespace r1::kernels {

inline constexpr int kPrefillHeadChannels = 128;   // of a key, its head's own; of a value
inline constexpr int kPrefillSharedChannels = 64;  // of a key, of all heads

// Row t of head h begins at data + t * stride + h * head_stride; strides are multiples of 8.
struct PrefillOperand {
  const __nv_bfloat16* data = nullptr;
  int64_t stride = 0;
  int64_t head_stride = 0;
};

struct PrefillAttentionBf16Args {
  int heads = 0;              // H
  int rows = 0;               // T; what lies in no tile is neither used nor written
  PrefillOperand q;           // [T, H, 128]
  PrefillOperand q_shared;    // [T, H, 64]: of the channels that heads share in the keys
  int key_rows = 0;           // S
  PrefillOperand keys;        // [S, H, 128]
  PrefillOperand key_shared;  // [S, 64]; no head stride
  PrefillOperand values;      // [S, H, 128]; finite, also where a sequence's neighbours lie
  const PrefillTile* tiles = nullptr;  // on the GPU, those with the longest contexts first
  int tile_count = 0;
  float scale = 0;               // of the scores, before softmax; above 0
  __nv_bfloat16* out = nullptr;  // [T, H, 128], strides as of the operands, even
  int64_t out_stride = 0;
  int64_t out_head_stride = 0;
};

// cudaErrorInvalidValue for sizes or strides outside the limits above.
[[nodiscard]] cudaError_t PrefillAttentionBf16Sm90(const PrefillAttentionBf16Args& args,
                                                   cudaStream_t stream);

}  // namespace r1::kernels
