// What the policy promises beside its mathematics (tests/integration/policy_oracle_test.cc): bits
// that do not depend on packing, recomputation or threads; instruction sets that agree; errors.

#include "learner/policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <thread>

#include "kernels/isa.h"
#include "learner/policy/torch_headers.h"
#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

using testing::HasSubstr;

struct Evaluation {
  std::vector<float> logprobs;
  std::vector<float> gradient;
  ForwardStats stats;
  double loss = 0;
};

// Loss: the logprobs weighted with numbers that depend on each target's place in its own sequence.
Evaluation Evaluate(Policy& policy, const PackedBatch& batch, double temperature = 1) {
  Evaluation result;
  result.gradient.resize(policy.parameters().size());
  const absl::StatusOr<double> loss = policy.ForwardBackward(
      batch, temperature,
      [&](const at::Tensor& logprobs) {
        const float* values = logprobs.const_data_ptr<float>();
        result.logprobs.assign(values, values + logprobs.numel());
        const at::Tensor weights = at::empty({logprobs.numel()}, at::kFloat);
        for (size_t n = 0; n < batch.target_rows.size(); ++n) {
          const int position = batch.positions[static_cast<size_t>(batch.target_rows[n])];
          weights.data_ptr<float>()[n] = static_cast<float>((position * 7 % 5 - 2.5) / 4);
        }
        return (logprobs * weights).sum();
      },
      result.gradient, &result.stats);
  EXPECT_TRUE(loss.ok()) << loss.status();
  result.loss = loss.value_or(0);
  return result;
}

class PolicyTest : public testing::Test {
 protected:
  const ModelSpec spec_ = PresetSpec();
  const std::unique_ptr<Policy> policy_ = RandomPolicy(spec_);
  // Longer than the attention kernel's blocks of 16, and shorter.
  const std::vector<TrainSequence> sequences_ = RandomSequences(spec_, 9, 2, 70);
};

TEST_F(PolicyTest, PackingChangesNoBitOfASequence) {
  const Evaluation packed = Evaluate(*policy_, Pack(sequences_), 0.7);
  std::vector<TrainSequence> reversed(sequences_.rbegin(), sequences_.rend());
  const Evaluation other = Evaluate(*policy_, Pack(reversed), 0.7);
  size_t from_front = 0, from_back = packed.logprobs.size();
  for (const TrainSequence& sequence : sequences_) {
    const auto n = static_cast<size_t>(sequence.target_count());
    const Evaluation alone = Evaluate(*policy_, Pack(std::span(&sequence, 1)), 0.7);
    from_back -= n;
    const auto same = [&](const std::vector<float>& a, const std::vector<float>& b,
                          const std::vector<float>& c) {
      return SameBits(a, std::span(b).subspan(from_front, n)) &&
             SameBits(a, std::span(c).subspan(from_back, n));
    };
    EXPECT_TRUE(same(alone.logprobs, packed.logprobs, other.logprobs));
    EXPECT_TRUE(same(alone.stats.entropy, packed.stats.entropy, other.stats.entropy));
    from_front += n;
  }
}

TEST_F(PolicyTest, GradientsAreAddedAndSumUpOverMicroBatches) {
  const Evaluation packed = Evaluate(*policy_, Pack(sequences_));
  std::vector<float> sum(packed.gradient.size(), 0.0f);
  double loss = 0;
  for (size_t begin = 0; begin < sequences_.size(); begin += 2) {
    const size_t count = std::min<size_t>(2, sequences_.size() - begin);
    const Evaluation part = Evaluate(*policy_, Pack(std::span(sequences_).subspan(begin, count)));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part.gradient[i];
    loss += part.loss;
  }
  EXPECT_NEAR(loss, packed.loss, 1e-4);
  // Sums of some hundred terms of size 1 in another order.
  EXPECT_LT(MaxDifference(sum, packed.gradient), 1e-4);

  std::vector<float> added = packed.gradient;
  const auto flat = [](const at::Tensor& logprobs) { return logprobs.sum() * 0; };
  ASSERT_TRUE(policy_->ForwardBackward(Pack(sequences_), 1, flat, added, nullptr).ok());
  EXPECT_TRUE(SameBits(added, packed.gradient));
}

TEST_F(PolicyTest, RecomputationGivesTheSameBits) {
  const auto recomputing = RandomPolicy(spec_, 1, {.activation_recompute = true});
  ASSERT_TRUE(SameBits(recomputing->parameters(), policy_->parameters()));
  const Evaluation kept = Evaluate(*policy_, Pack(sequences_));
  const Evaluation computed_again = Evaluate(*recomputing, Pack(sequences_));
  EXPECT_TRUE(SameBits(kept.logprobs, computed_again.logprobs));
  EXPECT_TRUE(SameBits(kept.gradient, computed_again.gradient));
  EXPECT_EQ(kept.stats.expert_load, computed_again.stats.expert_load);
}

TEST_F(PolicyTest, InferenceAndTrainingGiveTheSameLogprobs) {
  ForwardStats stats;
  const auto logprobs = policy_->Logprobs(Pack(sequences_), 0.7, &stats);
  ASSERT_TRUE(logprobs.ok()) << logprobs.status();
  const Evaluation training = Evaluate(*policy_, Pack(sequences_), 0.7);
  EXPECT_TRUE(SameBits(*logprobs, training.logprobs));
  EXPECT_TRUE(SameBits(stats.entropy, training.stats.entropy));
  EXPECT_EQ(stats.expert_load, training.stats.expert_load);
}

TEST_F(PolicyTest, ThreadsShareAPolicyWithoutTouchingEachOther) {
  std::vector<Evaluation> alone(sequences_.size()), together(sequences_.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    alone[i] = Evaluate(*policy_, Pack(std::span(&sequences_[i], 1)));
  }
  for (size_t i = 0; i < sequences_.size(); ++i) {
    threads.emplace_back(
        [&, i] { together[i] = Evaluate(*policy_, Pack(std::span(&sequences_[i], 1))); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < sequences_.size(); ++i) {
    EXPECT_TRUE(SameBits(alone[i].gradient, together[i].gradient)) << "sequence " << i;
  }
}

TEST_F(PolicyTest, InstructionSetsAgree) {
  const Evaluation best = Evaluate(*policy_, Pack(sequences_));
  for (const kernels::IsaName isa : kernels::DetectIsas()) {
    const std::string name(kernels::IsaText(isa));
    const auto policy = RandomPolicy(spec_, 1, {.isa = name});
    const Evaluation found = Evaluate(*policy, Pack(sequences_));
    EXPECT_LT(MaxDifference(found.logprobs, best.logprobs), 1e-5) << name;
    EXPECT_LT(MaxDifference(found.stats.entropy, best.stats.entropy), 1e-5) << name;
    EXPECT_LT(MaxDifference(found.gradient, best.gradient), 1e-4) << name;
    EXPECT_EQ(found.stats.expert_load, best.stats.expert_load) << name;
  }
}

TEST_F(PolicyTest, EveryTokenReachesItsNumberOfExperts) {
  const PackedBatch batch = Pack(sequences_);
  const std::vector<int64_t> load = Evaluate(*policy_, batch).stats.expert_load;
  size_t begin = 0;
  for (const LayerSpec& layer : spec_.layers) {
    if (!layer.moe) continue;
    const auto experts = static_cast<size_t>(layer.moe->experts);
    ASSERT_LE(begin + experts, load.size());
    EXPECT_EQ(std::accumulate(&load[begin], &load[begin] + experts, int64_t{0}),
              batch.token_count() * layer.moe->experts_per_token);
    begin += experts;
  }
  EXPECT_EQ(begin, load.size());
}

TEST_F(PolicyTest, SnapshotsAreCopiesThatLoadAgain) {
  const WeightsSnapshot snapshot = policy_->Snapshot(7);
  EXPECT_EQ(snapshot.policy_version, 7u);
  const uint64_t digest = snapshot.Digest();
  const Evaluation before = Evaluate(*policy_, Pack(sequences_));
  for (float& value : policy_->parameters()) value += 1;
  for (float& value : policy_->router_biases()) value += 1;
  EXPECT_EQ(snapshot.Digest(), digest);
  const auto other = RandomPolicy(spec_, 99);
  EXPECT_NE(other->Snapshot(7).Digest(), digest);
  ASSERT_TRUE(other->Load(snapshot).ok());
  EXPECT_EQ(other->Snapshot(7).Digest(), digest);
  EXPECT_TRUE(SameBits(Evaluate(*other, Pack(sequences_)).gradient, before.gradient));

  const absl::Status refused = other->Load(RandomPolicy(TinySpec())->Snapshot(8));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
  EXPECT_EQ(other->Snapshot(7).Digest(), digest);
}

TEST_F(PolicyTest, InitialWeightsAreAFunctionOfTheSeed) {
  const auto digest = [&](uint64_t seed) {
    return (*Policy::Create(spec_, {}, seed))->Snapshot(0).Digest();
  };
  EXPECT_EQ(digest(3), digest(3));
  EXPECT_NE(digest(3), digest(4));
}

TEST_F(PolicyTest, ImpossibleInputsAreNamed) {
  const auto message = [&](std::vector<int32_t> tokens, int first_target, double temperature) {
    PackedBatch batch;
    batch.Append(tokens, first_target);
    std::vector<float> gradient(policy_->parameters().size());
    const auto sum = [](const at::Tensor& logprobs) { return logprobs.sum(); };
    const absl::Status status =
        policy_->ForwardBackward(batch, temperature, sum, gradient, nullptr).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message({1, 2, 3}, 1, 0), HasSubstr("temperature above 0"));
  EXPECT_THAT(message({1, 32, 3}, 1, 1), HasSubstr("token 1: expected an id below 32, found 32"));
  EXPECT_THAT(message({1, -1, 3}, 1, 1), HasSubstr("token 1: expected an id below 32, found -1"));
  EXPECT_THAT(message({1, 2, 3}, 3, 1), HasSubstr("without targets"));
  EXPECT_THAT(message(std::vector<int32_t>(5000, 1), 1, 1), HasSubstr("positions_max"));
  EXPECT_EQ(Policy::Create(spec_, {.isa = "sse9"}, 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(PolicyTest, NonFiniteLossesAndGradientsAreDataLossAndLeaveTheBufferAlone) {
  std::vector<float> gradient(policy_->parameters().size(), 3.0f);
  const std::vector<float> before = gradient;
  const auto code = [&](const Policy::LossFunction& loss) {
    return policy_->ForwardBackward(Pack(sequences_), 1, loss, gradient, nullptr).status().code();
  };
  const auto infinite = [](const at::Tensor& logprobs) {
    return logprobs.sum() * std::numeric_limits<double>::infinity();
  };
  // 0, with a slope that the backward pass cannot carry.
  const auto steep = [](const at::Tensor& logprobs) {
    return ((logprobs - logprobs.detach()) * 1e38).sum();
  };
  for (const Policy::LossFunction& loss : {Policy::LossFunction(infinite), {steep}}) {
    EXPECT_EQ(code(loss), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(SameBits(gradient, before));
  }
}

}  // namespace
}  // namespace r1::learner
