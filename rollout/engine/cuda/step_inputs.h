// One step's numbers as the GPU's kernels want them: all in one piece of memory, so that one copy
// brings them over. Padding rows, which fill a batch up to the size of a captured graph, repeat the
// first row, so that they touch no further experts, and write nothing to the cache. Plain
// arithmetic, tested without a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "common/rng.h"
#include "kernels/cuda/gqa_decode_bf16_sm90.h"
#include "kernels/cuda/latent_gather_bf16_sm90.h"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"
#include "rollout/engine/block_manager.h"
#include "rollout/engine/runner.h"

namespace r1::rollout {

struct StepShape {
  int rows = 0;    // padding included
  int draws = 0;   // likewise
  int blocks = 0;  // of a row's table
  // Tiles of rows that share a prefix, padding included; 0 = every row attends its own.
  int prefix_tiles = 0;
  // Of PromptRows.
  int prompt_tiles = 0;
  int prompt_pieces = 0;
};

// Pointers into that memory.
struct StepInputs {
  int32_t* token_ids;  // [rows]
  int32_t* positions;  // [rows]
  int32_t* contexts;   // [rows]
  int32_t* prefixes;   // [rows]
  int32_t* slots;      // [rows]: place in the cache, as kernels/cuda/mla_input_bf16_sm90.h says
  int32_t* tables;     // [rows, blocks]
  kernels::RowTile* prefix_tiles;        // [prefix_tiles]
  kernels::PrefillTile* prompt_tiles;    // [prompt_tiles]
  kernels::CachedTokens* prompt_pieces;  // [prompt_pieces]
  int32_t* draw_rows;                    // [draws]
  float* temperatures;
  uint32_t* draw_positions;
  Rng* rngs;
  int64_t bytes;
};
StepInputs PlaceStepInputs(const StepShape& shape, uint8_t* base);

// What comes back.
struct StepResults {
  int32_t* tokens;  // [draws]
  float* logprobs;
  int64_t bytes;
};
StepResults PlaceStepResults(int draws, uint8_t* base);

// `inputs` in host memory, placed for `shape`, which has room for the batch; one with more rows or
// draws than the batch has is padded.
void FillStepInputs(const StepBatch& batch, int block_tokens, const StepShape& shape,
                    const StepInputs& inputs);

// Whether every row is a response of its own whose next token is drawn once: then the steps of a
// batch differ in numbers alone.
bool IsDecodeStep(const StepBatch& batch);

// The rows of a decode step, padded to `rows`, in tiles of at most rows_max neighbours whose
// prefixes lie in the same blocks, as even as can be. None where no rows share one, or where a row
// attends nothing behind its prefix.
std::vector<kernels::RowTile> CutPrefixes(const StepBatch& batch, int rows, int block_tokens,
                                          int rows_max);

// The rows of a step where prompts are attended in a way of their own, in tiles: in the cache, or
// with keys and values that are multiplied out of it, some prompts at a time. Which rows these are
// depends on positions alone, so that a token gets the same bits whatever the chunks, and after a
// preemption.
struct PromptRows {
  // Prompts that are attended together.
  struct Pass {
    int tile_begin = 0;
    int tile_end = 0;
    int piece_begin = 0;
    int piece_end = 0;
    int context_rows = 0;  // multiplied out; above the most only for a prompt by itself
  };
  struct Range {
    int first;
    int count;
  };
  std::vector<Pass> passes;
  std::vector<kernels::PrefillTile> tiles;    // of a pass, those with the longest contexts first
  std::vector<kernels::CachedTokens> pieces;  // whole contexts, one after the other
  std::vector<Range> others;                  // rows of responses
};
// context_rows_max: the most to multiply out at a time; 0 = none, prompts are attended in the
// cache.
PromptRows CutPrompts(const StepBatch& batch, int block_tokens, int context_rows_max);

// Sizes of captured graphs: the smallest with room for this many rows, and for this many tokens of
// context.
int GraphRows(int rows);
int GraphContext(int tokens);
// And, for a step of so many rows, for this many tiles of prefixes.
int GraphPrefixTiles(int tiles, int rows);

// Cuts copies that must be made in order into runs in which no target is another's source or
// target; the ends of the runs.
std::vector<int> CopyRuns(const std::vector<BlockCopy>& copies);

}  // namespace r1::rollout
