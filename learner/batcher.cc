#include "learner/batcher.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

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

namespace {

int64_t Length(const TrainSequence& sequence) {
  return static_cast<int64_t>(sequence.tokens.size());
}

// Consecutive sequences of one micro-batch.
struct Part {
  std::vector<int> sequences;
  int64_t tokens = 0;
};

// Cuts `order` into parts of nearly equal size, about `count` of them.
std::vector<Part> Cut(std::span<const TrainSequence> sequences, const std::vector<int>& order,
                      int64_t tokens_max, int64_t tokens_left, int64_t count) {
  std::vector<Part> parts;
  for (size_t next = 0; next < order.size(); --count) {
    const int64_t share = std::min(tokens_max, tokens_left / std::max<int64_t>(count, 1) + 1);
    Part& part = parts.emplace_back();
    do {
      const int64_t length = Length(sequences[static_cast<size_t>(order[next])]);
      // Half a sequence over or under the share, whichever is nearer; never over the limit.
      const bool full = part.tokens + length > tokens_max || part.tokens + length / 2 > share;
      if (part.tokens > 0 && full) break;
      part.sequences.push_back(order[next]);
      part.tokens += length;
      tokens_left -= length;
    } while (++next < order.size());
  }
  return parts;
}

// Halves the largest part that has two sequences; false when none has.
bool SplitLargest(std::span<const TrainSequence> sequences, std::vector<Part>& parts) {
  const auto splittable_tokens = [](const Part& part) {
    return part.sequences.size() > 1 ? part.tokens : 0;
  };
  const auto largest = std::ranges::max_element(parts, {}, splittable_tokens);
  if (largest == parts.end() || largest->sequences.size() < 2) return false;
  Part second;
  do {
    const int last = largest->sequences.back();
    second.sequences.insert(second.sequences.begin(), last);
    second.tokens += Length(sequences[static_cast<size_t>(last)]);
    largest->tokens -= Length(sequences[static_cast<size_t>(last)]);
    largest->sequences.pop_back();
  } while (largest->sequences.size() > 1 && second.tokens < largest->tokens);
  parts.insert(largest + 1, std::move(second));
  return true;
}

}  // namespace

std::vector<MicroBatch> PackMicroBatches(std::span<const TrainSequence> sequences,
                                         int64_t tokens_max, int threads) {
  std::vector<int> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int i) {
    const TrainSequence& sequence = sequences[static_cast<size_t>(i)];
    return std::tuple(sequence.tokens.size(), sequence.group_id, sequence.sample_index);
  };
  std::sort(order.begin(), order.end(), [&](int a, int b) { return key(a) < key(b); });
  int64_t tokens = 0;
  for (const TrainSequence& sequence : sequences) tokens += Length(sequence);

  const int64_t fewest = std::max<int64_t>((tokens + tokens_max - 1) / tokens_max, 1);
  const int64_t wanted = (fewest + threads - 1) / threads * threads;
  std::vector<Part> parts = Cut(sequences, order, tokens_max, tokens, wanted);
  while (parts.size() % static_cast<size_t>(threads) != 0 && SplitLargest(sequences, parts)) {
  }
  std::vector<MicroBatch> micro_batches;
  for (Part& part : parts) {
    MicroBatch& micro_batch = micro_batches.emplace_back();
    for (const int s : part.sequences) {
      const TrainSequence& sequence = sequences[static_cast<size_t>(s)];
      if (sequence.targets.empty()) {
        micro_batch.batch.Append(sequence.tokens, sequence.first_target);
      } else {
        micro_batch.batch.Append(sequence.tokens, sequence.targets);
      }
    }
    micro_batch.sequences = std::move(part.sequences);
  }
  return micro_batches;
}

}  // namespace r1::learner
