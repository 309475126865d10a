// Attention of multi-head latent attention in absorbed form on Hopper, as kernels/mla_decode.h
// says: every query row attends its sequence's first `context` tokens, keys and values being the
// same cached latents. One query token a sequence.
//
// Sequences may come in groups whose members share the blocks of a common prefix: then the prefix
// is read once for 64 query rows at a time (through the L2 cache, once from memory for the group),
// and each one's own tokens follow. That pays for long prefixes. Blocks with which two neighbours
// begin are read once for both in any case.
//
// Rounding: bf16 in and out; fp32 scores and sums; probabilities are rounded to bf16 before they
// weigh the values. The context is cut into splits, a prefix and the rest separately; a split is
// summed in order with a running maximum, and splits are merged in order. So a sequence's bits
// depend on its own context and prefix and on the size of splits alone: strict runs keep that
// fixed, fast ones fit it to the batch (MlaDecodeBf16Sm90FastSplit). Relative error about 2e-3
// against exact arithmetic on the same bf16 inputs.
//
// Shape letters: B sequences, H heads, L = 512 latent channels, R = 64 rotary channels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/latent_cache_layout.h"

namespace r1::kernels {

inline constexpr int kMlaStrictSplitTokens = 1024;
inline constexpr int kMlaSplitTokensMax = 2048;
inline constexpr int kMlaSequencesMax = 1024;

struct MlaDecodeBf16Args {
  int sequences = 0;  // B, 1 to kMlaSequencesMax
  int heads = 0;      // H, a multiple of 16
  const __nv_bfloat16* q =
      nullptr;                     // [B, H, L + R]: absorbed query, then rotated query; contiguous
  const uint8_t* cache = nullptr;  // blocks of kCacheBlockBytes
  const int32_t* block_tables =
      nullptr;  // [B, table_stride]: blocks of each sequence, prefix first
  int table_stride = 0;
  const int32_t* contexts = nullptr;         // [B], 1 to contexts_max
  int contexts_max = 0;                      // sets the workspace's size, nothing else
  int split_tokens = kMlaStrictSplitTokens;  // a multiple of 64, at most kMlaSplitTokensMax
  // G; 1 = nothing is shared. Otherwise it divides B, and G * H is a multiple of 64: sequences g *
  // G … g * G + G - 1 form group g and begin with the same prefix_tokens[g] tokens in the same
  // blocks.
  int group_size = 1;
  // [B / G], each a multiple of 64 and less than the contexts; null = none. A sequence that is
  // attended alone gets the bits that it gets in its group if it is given the group's prefix.
  const int32_t* prefix_tokens = nullptr;
  // The kernels that still run when this one may begin (MlaInputBf16Sm90 and what it runs beside)
  // write of each sequence's blocks the last one at most: the others are requested before they end.
  // Only without groups.
  bool begins_early = false;
  float scale = 0;               // of the scores, before softmax
  __nv_bfloat16* out = nullptr;  // [B, H, L]
  void* workspace = nullptr;     // of MlaDecodeBf16Sm90WorkspaceBytes
};

// The split that keeps all multiprocessors busy with the fewest results to merge.
int MlaDecodeBf16Sm90FastSplit(int sequences, int heads, int contexts_max);

int64_t MlaDecodeBf16Sm90WorkspaceBytes(int sequences, int heads, int contexts_max,
                                        int split_tokens);

// cudaErrorInvalidValue for sizes outside the limits above.
[[nodiscard]] cudaError_t MlaDecodeBf16Sm90(const MlaDecodeBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
