// Sequences to micro-batches: which sequences an update trains, and how they are packed.
// Torch-free; every rank computes the same global plan and keeps its own sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "learner/policy/packed_batch.h"

namespace r1::learner {

// One sequence to train: tokens from `first_target` on are targets, or those of `targets`.
struct TrainSequence {
  uint64_t group_id = 0;
  uint32_t sample_index = 0;
  std::vector<int32_t> tokens = {};
  int first_target = 1;
  double advantage = 0;  // of a policy update
  std::vector<float> old_logprobs =
      {};  // [targets], of the learner before the step's first update; empty: use the forward's
  std::vector<float> reference_logprobs = {};  // [targets]; empty: no reference

  // When not empty, the targets are these tokens, and first_target does not count.
  std::vector<TokenRange> targets = {};

  int64_t target_count() const {
    if (targets.empty()) return static_cast<int64_t>(tokens.size()) - first_target;
    int64_t count = 0;
    for (const TokenRange& range : targets) count += range.end - range.begin;
    return count;
  }
};

// Name of a sequence in the global plan.
struct SequenceId {
  uint64_t group_id = 0;
  uint32_t sample_index = 0;
  auto operator<=>(const SequenceId&) const = default;
};

// The mini-batches of an inner epoch: a Philox shuffle of all ids, cut into `per_update` each (the
// last may be shorter).
std::vector<std::vector<SequenceId>> ShuffleIntoMinibatches(std::vector<SequenceId> ids,
                                                            int per_update, uint64_t run_seed,
                                                            uint32_t stage_index, uint64_t step,
                                                            int epoch);

// A packed micro-batch; `sequences[s]` is the index in the input of packed sequence s.
struct MicroBatch {
  PackedBatch batch;
  std::vector<int> sequences;
};

// Packs this rank's sequences, sorted by (length, id), into micro-batches of nearly equal size
// under tokens_max; a single longer sequence forms one. Their number is a multiple of `threads`
// where there are enough sequences, so that every thread of the rank has the same work.
std::vector<MicroBatch> PackMicroBatches(std::span<const TrainSequence> sequences,
                                         int64_t tokens_max, int threads);

}  // namespace r1::learner
