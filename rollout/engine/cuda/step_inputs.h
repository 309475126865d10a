// One step's numbers as the GPU's kernels want them: all in one piece of memory, so that one copy
// brings them over. Padding rows, which fill a batch up to the size of a captured graph, repeat the
// first row, so that they touch no further experts, and write nothing to the cache. Plain
// arithmetic, tested without a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "common/rng.h"
#include "rollout/engine/block_manager.h"
#include "rollout/engine/runner.h"

namespace r1::rollout {

struct StepShape {
  int rows = 0;    // padding included
  int draws = 0;   // likewise
  int blocks = 0;  // of a row's table
};

// Pointers into that memory.
struct StepInputs {
  int32_t* token_ids;  // [rows]
  int32_t* positions;  // [rows]
  int32_t* contexts;   // [rows]
  int32_t* slots;      // [rows]: place in the cache, as kernels/cuda/mla_input_bf16_sm90.h says
  int32_t* tables;     // [rows, blocks]
  int32_t* draw_rows;  // [draws]
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

// Whether every row is a sequence of its own whose next token is drawn once: then the steps of a
// batch differ in numbers alone.
bool IsDecodeStep(const StepBatch& batch);

// Sizes of captured graphs: the smallest with room for this many rows, and for this many tokens of
// context.
int GraphRows(int rows);
int GraphContext(int tokens);

// Cuts copies that must be made in order into runs in which no target is another's source or
// target; the ends of the runs.
std::vector<int> CopyRuns(const std::vector<BlockCopy>& copies);

}  // namespace r1::rollout
