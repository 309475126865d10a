// Grouped-query attention over the paged cache on Hopper, as kernels/gqa_decode.h says: every query
// row attends the first `context` tokens of its own sequence. Rows come in tiles: one row, or
// neighbouring rows of one sequence (a prompt's tokens), which then share what is read.
//
// Rounding: bf16 in and out; fp32 scores and sums; probabilities are rounded to bf16 before they
// weigh the values. The context is cut into splits of split_tokens, a split into quarters of every
// block of tokens; a quarter is summed in order with a running maximum, quarters and splits are
// merged in order. So a row's bits depend on its own context and on the size of splits alone,
// neither on its tile nor on other tiles: strict runs keep that size fixed, fast ones fit it to the
// batch (GqaDecodeBf16Sm90FastSplit). Relative error about 2e-3 against exact arithmetic on the
// same bf16 inputs.
//
// Sequences that share the blocks of a prefix can read it together: a call with GqaPart::kPrefixes
// whose tiles are rows of such sequences, right before one with GqaPart::kRest for every row, which
// goes on where the prefixes end. The bits are those of one call with GqaPart::kAll.
//
// Without tiles, more rows than run at once are attended two by two, and blocks with which both
// sequences begin are read once. A row then weighs what only the other one attends by zero, so
// values that are no numbers spread to a neighbour.
//
// Where each row is a sequence's, the kernel can begin with what was projected (`input`): it then
// does what GqaInputBf16Sm90 does, to the same bits, each row's own key and value included, and
// requests the cache before the kernel in front of it ends.
//
// Shape letters: T rows, H heads, N key heads, K channels of a head.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/grouped_cache_layout.h"

namespace r1::kernels {

inline constexpr int kGqaStrictSplitTokens = 1024;
inline constexpr int kGqaSplitTokensMax = 2048;
// Query heads of a tile's rows that share a key head, at most: T of the tile * H / N.
inline constexpr int kGqaTileHeadsMax = 64;
// And where the kernel begins with what was projected.
inline constexpr int kGqaInputHeadsMax = 16;

// Of a row's context.
enum class GqaPart : uint8_t { kAll, kPrefixes, kRest };

// Rows [first, first + count): of one sequence, in the order of their tokens; or of sequences with
// the same prefix in the same blocks, for GqaPart::kPrefixes. An empty one is passed over.
struct RowTile {
  int32_t first;
  int32_t count;
};

struct GqaDecodeBf16Args {
  int heads = 0;                     // H, a multiple of N
  int kv_heads = 0;                  // N
  int head_dim = 0;                  // K
  const __nv_bfloat16* q = nullptr;  // [T, H, K], rotated; not looked at with `input`
  // As for GqaInputBf16Sm90, but for `query`: heads, kv_heads, head_dim and cache are those of
  // here, a row's slot is that of its last token. Only where part is kAll, without tiles, and H / N
  // is at most kGqaInputHeadsMax. Rows write to no block that another row has, but for rows without
  // a slot, whose results are not used. All of the cache but these last tokens, and the tables,
  // contexts, slots and positions, are complete when the kernel in front of this one begins.
  GqaInputBf16Args input = {};            // none: no input.input
  const uint8_t* cache = nullptr;         // blocks of N * GroupedHeadBytes(K)
  const int32_t* block_tables = nullptr;  // [T, table_stride]: blocks of each row's sequence
  int table_stride = 0;
  // [T], 1 to contexts_max; within a tile of a sequence each is one more than the one before.
  const int32_t* contexts = nullptr;
  int contexts_max = 0;
  // [T], multiples of 64 up to prefixes_max; null: none. Unless part is kAll, less than the
  // context.
  const int32_t* prefixes = nullptr;
  int prefixes_max = 0;
  GqaPart part = GqaPart::kAll;
  int workspace_rows = 0;  // T, unless part is kAll: the same in both calls
  int tile_count = 0;
  const RowTile* tiles = nullptr;  // [tile_count], on the GPU; null: tile i is row i
  int tile_rows_max = 1;           // no tile has more rows; times H / N at most kGqaTileHeadsMax
  int split_tokens = kGqaStrictSplitTokens;  // a multiple of 64, at most kGqaSplitTokensMax
  float scale = 0;                           // of the scores, before softmax
  __nv_bfloat16* out = nullptr;              // [T, H, K]
  void* workspace = nullptr;                 // of GqaDecodeBf16Sm90WorkspaceBytes
  uint32_t* counters = nullptr;  // [tile_count, N]; zero before the first call, and after each
};

// The split that keeps all multiprocessors busy with the fewest results to merge.
int GqaDecodeBf16Sm90FastSplit(int rows, int kv_heads, int contexts_max);

// For tiles of together at most `rows` rows, counting each as one of tile_rows_max; or, to share
// prefixes, for workspace_rows.
int64_t GqaDecodeBf16Sm90WorkspaceBytes(int rows, int heads, int head_dim, int contexts_max,
                                        int split_tokens, bool shares_prefixes = false);

// cudaErrorInvalidValue for sizes outside the limits above.
[[nodiscard]] cudaError_t GqaDecodeBf16Sm90(const GqaDecodeBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
