// Sequences of different lengths, laid end to end: no padding. Torch-free.
// Shape letters: T tokens of the micro-batch, S sequences, N target tokens (those with a loss or a
// wanted logprob).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "common/token_range.h"

namespace r1::learner {

struct PackedBatch {
  std::vector<int32_t> tokens;           // [T]
  std::vector<int32_t> positions;        // [T], from 0 in each sequence
  std::vector<int32_t> sequence_starts;  // [S + 1], offsets into tokens
  // Targets: the model's output at row `target_rows[i]` predicts token `target_tokens[i]`. Grouped
  // by sequence, in order.
  std::vector<int32_t> target_rows;       // [N]
  std::vector<int32_t> target_tokens;     // [N]
  std::vector<int32_t> target_sequences;  // [N], index in 0..S-1

  int64_t token_count() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequence_count() const { return static_cast<int64_t>(sequence_starts.size()) - 1; }
  int64_t target_count() const { return static_cast<int64_t>(target_rows.size()); }

  // Appends one sequence whose tokens from index `first_target` (>= 1) on are targets.
  void Append(const std::vector<int32_t>& sequence, int first_target);
  // Appends one sequence whose tokens in these ranges (ascending, disjoint, from index 1 on) are.
  void Append(const std::vector<int32_t>& sequence, std::span<const TokenRange> targets);

  // InvalidArgument names the first thing that no model with these limits could compute.
  [[nodiscard]] absl::Status Check(int vocab, int positions_max) const;
};

}  // namespace r1::learner
