// Scheduler and block manager without a model: a simulated cache holds what was "computed" in each
// place, so that every wrong sharing, missing copy, lost or doubly freed block shows as a wrong
// value.

#include "rollout/engine/scheduler.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace r1::rollout {
namespace {

TEST(BlockManagerTest, ForksShareBlocksUntilTheFirstWrite) {
  BlockManager blocks(8, 4);
  std::vector<BlockCopy> copies;
  BlockTable prompt = blocks.Allocate(6);  // a full block and half a one
  EXPECT_EQ(blocks.free_blocks(), 6);
  BlockTable a = blocks.Fork(prompt);
  BlockTable b = blocks.Fork(prompt);
  blocks.Free(&prompt);
  EXPECT_EQ(blocks.free_blocks(), 6);
  ASSERT_TRUE(blocks.PrepareWrite(6, &a, &copies));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].source, b[1]);
  EXPECT_EQ(copies[0].target, a[1]);
  EXPECT_EQ(a[0], b[0]);
  ASSERT_TRUE(blocks.PrepareWrite(6, &b, &copies));  // the last owner writes in place
  EXPECT_EQ(copies.size(), 1u);
  EXPECT_EQ(blocks.free_blocks(), 5);
  blocks.Free(&a);
  EXPECT_EQ(blocks.free_blocks(), 6);
  blocks.Free(&b);
  EXPECT_EQ(blocks.free_blocks(), 8);
}

TEST(BlockManagerTest, AFullCacheRefusesAndChangesNothing) {
  BlockManager blocks(2, 4);
  std::vector<BlockCopy> copies;
  BlockTable a = blocks.Allocate(7);
  BlockTable b = blocks.Fork(a);
  const BlockTable before = b;
  EXPECT_FALSE(blocks.PrepareWrite(7, &b, &copies));  // would need a copy
  EXPECT_EQ(b, before);
  EXPECT_TRUE(copies.empty());
  blocks.Free(&b);
  EXPECT_TRUE(blocks.PrepareWrite(7, &a, &copies));
  EXPECT_FALSE(blocks.PrepareWrite(8, &a, &copies));  // would need a block
  EXPECT_EQ(a.size(), 2u);
}

// A scheduler with a simulated cache: place = (block, offset) -> value that depends on the
// sequence's tokens so far.
class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : rng_(seed, 0, RngPurpose::kTest, 4, 0),
        block_tokens_(1 + Below(5)),
        blocks_(kLengthMax / block_tokens_ + 1 + Below(12), block_tokens_),
        limits_{.running_samples_max = 1 + Below(8), .prefill_tokens_max = 1 + Below(12)},
        scheduler_(limits_, &blocks_),
        cache_(blocks_.block_count() * block_tokens_, 0) {}

  // A random life of some requests with random cancels; everything that was not cancelled finishes.
  void Run() {
    const int requests = 1 + Below(6);
    int submitted = 0;
    for (int step = 0; submitted < requests || !scheduler_.idle(); ++step) {
      ASSERT_LT(step, 5000) << "no progress";
      while (submitted < requests && (scheduler_.idle() || Below(4) == 0)) Submit(submitted++);
      if (Below(30) == 0) Cancel(Below(requests));
      ASSERT_NO_FATAL_FAILURE(Step());
    }
    EXPECT_EQ(blocks_.free_blocks(), blocks_.block_count()) << "leaked blocks";
    EXPECT_EQ(scheduler_.running_samples(), 0);
    EXPECT_TRUE(outstanding_.empty());
  }

  uint64_t preemptions() const { return scheduler_.preemptions_total(); }

 private:
  static constexpr int kLengthMax = 24;

  int Below(int bound) { return static_cast<int>(rng_.NextBelow(bound)); }

  void Submit(uint64_t request_id) {
    auto request = std::make_shared<GroupRequest>();
    request->request_id = request_id;
    const int prompt = 1 + Below(kLengthMax / 2);
    for (int i = 0; i < prompt; ++i) request->prompt_ids.push_back(Below(1000));
    request->response_tokens_max = 1 + Below(kLengthMax / 2);
    auto sequence = std::make_unique<Sequence>();
    sequence->request = request;
    const int samples = 1 + Below(limits_.running_samples_max);
    for (int i = 0; i < samples; ++i) {
      sequence->samples.push_back({.sample_index = static_cast<uint32_t>(i),
                                   .rng = Rng(0, 0, RngPurpose::kTest, 0, 0),
                                   .token_ids = {},
                                   .logprobs = {}});
      outstanding_.insert({request_id, i});
    }
    scheduler_.Add(std::move(sequence));
  }

  void Cancel(uint64_t request_id) {
    scheduler_.Cancel(request_id);
    std::erase_if(outstanding_, [&](const auto& key) { return key.first == request_id; });
  }

  // What the cache must hold for a token: a value of all tokens up to it.
  static uint64_t Value(const Sequence& sequence, int position) {
    uint64_t value = 1;
    for (int i = 0; i <= position; ++i)
      value = MixBits(value ^ static_cast<uint64_t>(sequence.TokenAt(i)));
    return value;
  }
  uint64_t& Place(const Sequence& sequence, int position) {
    return cache_[sequence.blocks.at(position / block_tokens_) * block_tokens_ +
                  position % block_tokens_];
  }

  void Step() {
    scheduler_.Schedule(&plan_);
    if (Below(10) == 0) {  // a step that fails is scheduled again
      Copy();
      scheduler_.Schedule(&plan_);
    }
    ASSERT_FALSE(plan_.tokens.empty() && !scheduler_.idle());
    Copy();
    int prefill = 0;
    int samples = 0;
    std::set<uint64_t*> written;
    for (const ScheduledTokens& tokens : plan_.tokens) {
      ASSERT_EQ(tokens.first, tokens.sequence->computed);
      ASSERT_GT(tokens.count, 0);
      samples += static_cast<int>(tokens.sequence->samples.size());
      if (tokens.sequence->length() - tokens.first > 1) prefill += tokens.count;
      for (int position = tokens.first; position < tokens.first + tokens.count; ++position) {
        uint64_t* place = &Place(*tokens.sequence, position);
        ASSERT_TRUE(written.insert(place).second) << "two tokens in one place";
        *place = Value(*tokens.sequence, position);
      }
    }
    ASSERT_LE(prefill, limits_.prefill_tokens_max);
    ASSERT_LE(samples, limits_.running_samples_max);
    for (const ScheduledTokens& tokens :
         plan_.tokens) {  // all of the context is there after all writes
      for (int position = 0; position < tokens.first + tokens.count; ++position) {
        ASSERT_EQ(Place(*tokens.sequence, position), Value(*tokens.sequence, position));
      }
    }
    Draw();
  }

  void Copy() {
    for (const BlockCopy& copy : plan_.copies) {
      std::copy_n(&cache_[copy.source * block_tokens_], block_tokens_,
                  &cache_[copy.target * block_tokens_]);
    }
  }

  void Draw() {
    for (const ScheduledTokens& tokens : plan_.tokens) {
      const bool draws = tokens.draws();
      tokens.sequence->computed += tokens.count;
      if (!draws) continue;
      for (Sample& sample : tokens.sequence->samples) {
        sample.token_ids.push_back(Below(1000));
        sample.finished =
            sample.token_ids.size() == tokens.sequence->request->response_tokens_max ||
            Below(12) == 0;
      }
    }
    std::vector<GeneratedSample> finished;
    scheduler_.Settle(&finished);
    for (const GeneratedSample& sample : finished) {
      ASSERT_EQ(outstanding_.erase({sample.request_id, sample.sample_index}), 1u)
          << "finished twice, or cancelled";
      ASSERT_FALSE(sample.token_ids.empty());
    }
  }

  Rng rng_;
  int block_tokens_;
  BlockManager blocks_;
  Scheduler::Limits limits_;
  Scheduler scheduler_;
  std::vector<uint64_t> cache_;
  StepPlan plan_;
  std::set<std::pair<uint64_t, uint32_t>> outstanding_;
};

TEST(SchedulerTest, RandomSchedulesLoseNoBlockAndNoSample) {
  uint64_t preemptions = 0;
  for (uint64_t seed = 0; seed < 100'000; ++seed) {
    Simulation simulation(seed);
    ASSERT_NO_FATAL_FAILURE(simulation.Run()) << "seed " << seed;
    preemptions += simulation.preemptions();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(preemptions, 10'000u);  // the caches are small enough to matter
}

std::unique_ptr<Sequence> MakeGroup(uint64_t request_id, int prompt, int samples,
                                    uint32_t response_tokens_max) {
  auto request = std::make_shared<GroupRequest>();
  request->request_id = request_id;
  request->prompt_ids.assign(prompt, 1);
  request->response_tokens_max = response_tokens_max;
  auto sequence = std::make_unique<Sequence>();
  sequence->request = request;
  for (int i = 0; i < samples; ++i) {
    sequence->samples.push_back({.sample_index = static_cast<uint32_t>(i),
                                 .rng = Rng(0, 0, RngPurpose::kTest, 0, 0),
                                 .token_ids = {},
                                 .logprobs = {}});
  }
  return sequence;
}

TEST(SchedulerTest, GroupsAreAdmittedWholeAndInOrder) {
  BlockManager blocks(100, 16);
  Scheduler scheduler({.running_samples_max = 10, .prefill_tokens_max = 100}, &blocks);
  scheduler.Add(MakeGroup(1, 5, 4, 8));
  scheduler.Add(MakeGroup(2, 5, 8, 8));  // does not fit beside the first
  scheduler.Add(MakeGroup(3, 5, 1, 8));  // would fit, but waits for its turn
  StepPlan plan;
  scheduler.Schedule(&plan);
  ASSERT_EQ(plan.tokens.size(), 1u);
  EXPECT_EQ(plan.tokens[0].sequence->request->request_id, 1u);
  EXPECT_EQ(scheduler.running_samples(), 4);
  EXPECT_EQ(scheduler.waiting_sequences(), 2);
}

TEST(SchedulerTest, PromptsShareTheTokenBudgetOldestFirst) {
  BlockManager blocks(100, 16);
  Scheduler scheduler({.running_samples_max = 10, .prefill_tokens_max = 30}, &blocks);
  scheduler.Add(MakeGroup(1, 50, 1, 8));
  scheduler.Add(MakeGroup(2, 20, 1, 8));
  StepPlan plan;
  scheduler.Schedule(&plan);
  ASSERT_EQ(plan.tokens.size(), 1u);
  EXPECT_EQ(plan.tokens[0].count, 30);
  plan.tokens[0].sequence->computed = 30;
  scheduler.Schedule(&plan);
  ASSERT_EQ(plan.tokens.size(), 2u);
  EXPECT_EQ(plan.tokens[0].count, 20);
  EXPECT_TRUE(plan.tokens[0].draws());
  EXPECT_EQ(plan.tokens[1].count, 10);
  EXPECT_FALSE(plan.tokens[1].draws());
}

TEST(SchedulerTest, TheYoungestGivesWayAndKeepsItsTokens) {
  BlockManager blocks(5, 4);
  Scheduler scheduler({.running_samples_max = 10, .prefill_tokens_max = 100}, &blocks);
  StepPlan plan;
  std::vector<GeneratedSample> finished;
  std::map<uint64_t, int> drawn;
  const auto step = [&] {
    scheduler.Schedule(&plan);
    for (const ScheduledTokens& tokens : plan.tokens) {
      tokens.sequence->computed += tokens.count;
      tokens.sequence->samples[0].token_ids.push_back(7);
      ++drawn[tokens.sequence->request->request_id];
    }
    scheduler.Settle(&finished);
  };
  scheduler.Add(MakeGroup(1, 4, 1, 99));
  step();
  scheduler.Add(MakeGroup(2, 3, 1, 99));
  for (int i = 0; i < 20 && scheduler.preemptions_total() == 0; ++i) step();
  ASSERT_EQ(scheduler.preemptions_total(), 1u);
  ASSERT_EQ(plan.tokens.size(), 1u);
  EXPECT_EQ(plan.tokens[0].sequence->request->request_id, 1u);
  EXPECT_EQ(scheduler.waiting_sequences(), 1);
  scheduler.Cancel(1);
  scheduler.Schedule(&plan);
  ASSERT_EQ(plan.tokens.size(), 1u);
  EXPECT_EQ(plan.tokens[0].first, 0);
  EXPECT_EQ(plan.tokens[0].count, 3 + drawn[2]);  // the prompt and the tokens that it had
}

}  // namespace
}  // namespace r1::rollout
