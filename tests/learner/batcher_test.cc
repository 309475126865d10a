// Properties of the batcher over random inputs: nothing lost, nothing twice, limits kept, and a
// plan that depends on the inputs alone.

#include "learner/batcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

struct Case {
  std::vector<TrainSequence> sequences;
  int64_t tokens_max;
  int threads;
};

Case RandomCase(uint64_t seed) {
  Rng rng = TestRng(seed);
  const int count = 1 + static_cast<int>(rng.NextBelow(60));
  const int longest = 4 + static_cast<int>(rng.NextBelow(60));
  // Now and then a limit below the longest sequences.
  return {.sequences = RandomSequences(TinySpec(), count, 2, longest, seed),
          .tokens_max = 20 + static_cast<int64_t>(rng.NextBelow(300)),
          .threads = 1 + static_cast<int>(rng.NextBelow(4))};
}

TEST(PackMicroBatchesTest, EverySequenceOnceWithinTheLimit) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    const Case c = RandomCase(seed);
    std::multiset<int> packed;
    for (const MicroBatch& micro_batch : PackMicroBatches(c.sequences, c.tokens_max, c.threads)) {
      ASSERT_FALSE(micro_batch.sequences.empty()) << "seed " << seed;
      packed.insert(micro_batch.sequences.begin(), micro_batch.sequences.end());
      if (micro_batch.batch.token_count() > c.tokens_max) {
        ASSERT_EQ(micro_batch.sequences.size(), 1u) << "seed " << seed;
      }
      PackedBatch expected;
      for (const int s : micro_batch.sequences) {
        const TrainSequence& sequence = c.sequences[static_cast<size_t>(s)];
        expected.Append(sequence.tokens, sequence.first_target);
      }
      ASSERT_EQ(micro_batch.batch.tokens, expected.tokens) << "seed " << seed;
      ASSERT_EQ(micro_batch.batch.sequence_starts, expected.sequence_starts) << "seed " << seed;
      ASSERT_EQ(micro_batch.batch.target_rows, expected.target_rows) << "seed " << seed;
    }
    ASSERT_EQ(packed.size(), c.sequences.size()) << "seed " << seed;
    for (int i = 0; i < static_cast<int>(c.sequences.size()); ++i) {
      ASSERT_EQ(packed.count(i), 1u) << "seed " << seed;
    }
  }
}

TEST(PackMicroBatchesTest, EveryThreadHasAsManyMicroBatchesWhereThereAreEnoughSequences) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    const Case c = RandomCase(seed);
    const size_t count = PackMicroBatches(c.sequences, c.tokens_max, c.threads).size();
    const auto threads = static_cast<size_t>(c.threads);
    // Sequences that cannot be cut any further are the one excuse.
    ASSERT_TRUE(count % threads == 0 || count == c.sequences.size())
        << count << " micro-batches for " << threads << " threads, seed " << seed;
  }
}

TEST(PackMicroBatchesTest, ASequenceLongerThanTheLimitIsAlone) {
  std::vector<TrainSequence> sequences = RandomSequences(TinySpec(), 5, 6, 6);
  sequences[2].tokens.resize(50, 3);
  const std::vector<MicroBatch> micro_batches = PackMicroBatches(sequences, 30, 1);
  ASSERT_EQ(micro_batches.size(), 2u);
  EXPECT_EQ(micro_batches[0].sequences, (std::vector<int>{0, 1, 3, 4}));
  EXPECT_EQ(micro_batches[1].sequences, (std::vector<int>{2}));
}

TEST(PackMicroBatchesTest, TheOrderOfArrivalDoesNotMatter) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const Case c = RandomCase(seed);
    std::vector<TrainSequence> reversed(c.sequences.rbegin(), c.sequences.rend());
    const auto a = PackMicroBatches(c.sequences, c.tokens_max, c.threads);
    const auto b = PackMicroBatches(reversed, c.tokens_max, c.threads);
    ASSERT_EQ(a.size(), b.size()) << "seed " << seed;
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(a[i].batch.tokens, b[i].batch.tokens) << "seed " << seed;
    }
  }
}

TEST(PackMicroBatchesTest, RangesOfTargetsAreTheOnlyOnes) {
  std::vector<TrainSequence> sequences = RandomSequences(TinySpec(), 2, 10, 10);
  sequences[0].targets = {{2, 4}, {7, 10}};
  EXPECT_EQ(sequences[0].target_count(), 5);
  sequences[1].first_target = 3;
  TrainSequence same = sequences[1];
  same.targets = {{3, 10}};
  EXPECT_EQ(same.target_count(), sequences[1].target_count());
  const auto targets = [](const TrainSequence& sequence) {
    return PackMicroBatches(std::span(&sequence, 1), 100, 1).front().batch;
  };
  EXPECT_EQ(targets(sequences[0]).target_rows, std::vector<int32_t>({1, 2, 6, 7, 8}));
  const std::vector<int32_t>& tokens = sequences[0].tokens;
  EXPECT_EQ(targets(sequences[0]).target_tokens,
            std::vector<int32_t>({tokens[2], tokens[3], tokens[7], tokens[8], tokens[9]}));
  EXPECT_EQ(targets(sequences[1]).target_rows, targets(same).target_rows);
  EXPECT_EQ(targets(sequences[1]).target_tokens, targets(same).target_tokens);
}

TEST(PackMicroBatchesTest, WithoutSequencesThereIsNone) {
  EXPECT_TRUE(PackMicroBatches({}, 100, 3).empty());
}

// --- Mini-batches ---

std::vector<SequenceId> Ids(uint64_t groups, uint32_t samples) {
  std::vector<SequenceId> ids;
  for (uint64_t g = 0; g < groups; ++g) {
    for (uint32_t s = 0; s < samples; ++s) ids.push_back({100 + g, s});
  }
  return ids;
}

std::vector<SequenceId> Joined(const std::vector<std::vector<SequenceId>>& minibatches) {
  std::vector<SequenceId> ids;
  for (const auto& part : minibatches) ids.insert(ids.end(), part.begin(), part.end());
  return ids;
}

TEST(ShuffleIntoMinibatchesTest, CutsAPermutationOfAllIds) {
  for (const int per_update : {1, 5, 16, 48, 64}) {
    const auto minibatches = ShuffleIntoMinibatches(Ids(12, 4), per_update, 1, 2, 3, 0);
    for (size_t i = 0; i + 1 < minibatches.size(); ++i) {
      EXPECT_EQ(minibatches[i].size(), static_cast<size_t>(per_update));
    }
    std::vector<SequenceId> all = Joined(minibatches);
    EXPECT_NE(all, Ids(12, 4));
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, Ids(12, 4)) << per_update;
  }
}

TEST(ShuffleIntoMinibatchesTest, DependsOnEveryNameAndOnNothingElse) {
  std::vector<SequenceId> reversed = Ids(12, 4);
  std::reverse(reversed.begin(), reversed.end());
  const auto plan = [](uint64_t run_seed, uint32_t stage, uint64_t step, int epoch) {
    return Joined(ShuffleIntoMinibatches(Ids(12, 4), 8, run_seed, stage, step, epoch));
  };
  EXPECT_EQ(plan(1, 2, 3, 0), Joined(ShuffleIntoMinibatches(reversed, 8, 1, 2, 3, 0)));
  // The order is one of all of them, however it is cut.
  EXPECT_EQ(plan(1, 2, 3, 0), Joined(ShuffleIntoMinibatches(Ids(12, 4), 12, 1, 2, 3, 0)));
  EXPECT_NE(plan(1, 2, 3, 0), plan(9, 2, 3, 0));
  EXPECT_NE(plan(1, 2, 3, 0), plan(1, 1, 3, 0));
  EXPECT_NE(plan(1, 2, 3, 0), plan(1, 2, 4, 0));
  EXPECT_NE(plan(1, 2, 3, 0), plan(1, 2, 3, 1));
}

TEST(ShuffleIntoMinibatchesTest, EveryPositionIsEquallyLikely) {
  // Where id 0 of six lands in 6,000 steps: 1,000 each, standard deviation 29.
  std::vector<int> counts(6);
  for (uint64_t step = 0; step < 6000; ++step) {
    const auto ids = Joined(ShuffleIntoMinibatches(Ids(6, 1), 6, 1, 0, step, 0));
    for (size_t i = 0; i < ids.size(); ++i) counts[i] += ids[i] == SequenceId{100, 0} ? 1 : 0;
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

}  // namespace
}  // namespace r1::learner
