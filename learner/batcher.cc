#include "learner/batcher.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "common/rng.h"
#include "common/status.h"

namespace r1::learner {

std::vector<std::vector<SequenceId>> ShuffleIntoMinibatches(std::vector<SequenceId> ids,
                                                            int per_update, uint64_t run_seed,
                                                            uint32_t stage_index, uint64_t step,
                                                            int epoch) {
  R1_CHECK(per_update > 0);
  std::sort(ids.begin(), ids.end());
  Rng stream(run_seed, stage_index, RngPurpose::kShuffle, step, static_cast<uint32_t>(epoch));
  for (size_t left = ids.size(); left > 1; --left)
    std::swap(ids[left - 1], ids[stream.NextBelow(left)]);
  std::vector<std::vector<SequenceId>> minibatches;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(per_update)) {
    const size_t end = std::min(ids.size(), begin + static_cast<size_t>(per_update));
    minibatches.emplace_back(ids.begin() + static_cast<int64_t>(begin),
                             ids.begin() + static_cast<int64_t>(end));
  }
  return minibatches;
}

std::vector<MicroBatch> PackMicroBatches(std::span<const TrainSequence> sequences,
                                         int64_t tokens_max, int threads) {
  std::vector<int> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int i) {
    const TrainSequence& sequence = sequences[static_cast<size_t>(i)];
    return std::tuple(sequence.tokens.size(), sequence.group_id, sequence.sample_index);
  };
  std::sort(order.begin(), order.end(), [&](int a, int b) { return key(a) < key(b); });
  int64_t tokens_left = 0;
  for (const TrainSequence& sequence : sequences)
    tokens_left += static_cast<int64_t>(sequence.tokens.size());

  int64_t batches_left = std::max<int64_t>((tokens_left + tokens_max - 1) / tokens_max, 1);
  batches_left = (batches_left + threads - 1) / threads * threads;
  std::vector<MicroBatch> micro_batches;
  for (size_t next = 0; next < order.size();) {
    const int64_t share =
        std::min(tokens_max, tokens_left / std::max<int64_t>(batches_left, 1) + 1);
    MicroBatch& micro_batch = micro_batches.emplace_back();
    do {
      const TrainSequence& sequence = sequences[static_cast<size_t>(order[next])];
      const auto length = static_cast<int64_t>(sequence.tokens.size());
      const int64_t filled = micro_batch.batch.token_count();
      // Half a sequence over or under the share, whichever is nearer; never over the limit.
      if (filled > 0 && (filled + length > tokens_max || filled + length / 2 > share)) break;
      micro_batch.batch.Append(sequence.tokens, sequence.first_target);
      micro_batch.sequences.push_back(order[next]);
      tokens_left -= length;
    } while (++next < order.size());
    --batches_left;
  }
  return micro_batches;
}

}  // namespace r1::learner
