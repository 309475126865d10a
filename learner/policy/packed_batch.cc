#include "learner/policy/packed_batch.h"

#include <algorithm>

#include "common/status.h"

namespace r1::learner {

void PackedBatch::Append(const std::vector<int32_t>& sequence, int first_target) {
  const TokenRange all = {first_target, static_cast<int>(sequence.size())};
  Append(sequence, std::span(&all, 1));
}

void PackedBatch::Append(const std::vector<int32_t>& sequence,
                         std::span<const TokenRange> targets) {
  if (sequence_starts.empty()) sequence_starts.push_back(0);
  const auto index = static_cast<int32_t>(sequence_count());
  const int32_t start = sequence_starts.back();
  const auto length = static_cast<int32_t>(sequence.size());
  for (int32_t i = 0; i < length; ++i) {
    tokens.push_back(sequence[static_cast<size_t>(i)]);
    positions.push_back(i);
  }
  int32_t next = 1;
  for (const TokenRange& range : targets) {
    R1_CHECK(range.begin >= next);
    R1_CHECK(range.end <= length);
    for (int32_t i = range.begin; i < range.end; ++i) {
      target_rows.push_back(start + i - 1);
      target_tokens.push_back(sequence[static_cast<size_t>(i)]);
      target_sequences.push_back(index);
    }
    next = std::max(next, range.end);
  }
  sequence_starts.push_back(start + length);
}

absl::Status PackedBatch::Check(int vocab, int positions_max) const {
  const auto error = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("packed batch: ", parts...));
  };
  if (sequence_starts.empty() || sequence_starts.front() != 0 ||
      sequence_starts.back() != token_count()) {
    return error("sequence_starts must go from 0 to the number of tokens, ", token_count());
  }
  for (size_t s = 1; s < sequence_starts.size(); ++s) {
    if (sequence_starts[s] <= sequence_starts[s - 1]) return error("sequence ", s - 1, " is empty");
  }
  if (positions.size() != tokens.size()) {
    return error("expected ", tokens.size(), " positions, found ", positions.size());
  }
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || tokens[t] >= vocab) {
      return error("token ", t, ": expected an id below ", vocab, ", found ", tokens[t]);
    }
    if (positions[t] < 0 || positions[t] >= positions_max) {
      return error("token ", t, ": expected a position below ", positions_max,
                   " (the model's positions_max), found ", positions[t]);
    }
  }
  if (target_tokens.size() != target_rows.size() || target_sequences.size() != target_rows.size()) {
    return error("target_rows, target_tokens and target_sequences differ in length");
  }
  for (size_t i = 0; i < target_rows.size(); ++i) {
    if (target_rows[i] < 0 || target_rows[i] >= token_count()) {
      return error("target ", i, ": expected a row below ", token_count(), ", found ",
                   target_rows[i]);
    }
    if (target_tokens[i] < 0 || target_tokens[i] >= vocab) {
      return error("target ", i, ": expected an id below ", vocab, ", found ", target_tokens[i]);
    }
  }
  return absl::OkStatus();
}

}  // namespace r1::learner
