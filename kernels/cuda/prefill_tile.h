// The unit of work of the kernels that attend prompts: prefill_attention_bf16_sm90.h and
// gqa_prefill_bf16_sm90.h.
#pragma once

#include <cstdint>

namespace r1::kernels {

inline constexpr int kPrefillTileRows = 128;

// Neighbouring rows of one sequence, with neighbouring positions.
struct PrefillTile {
  int32_t first_row;       // of the queries and results
  int32_t rows;            // 1 to kPrefillTileRows
  int32_t first_position;  // of the first row
  int32_t first_key;       // row of its sequence's first token, where keys are a matrix
};

}  // namespace r1::kernels
