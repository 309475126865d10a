// The policy in LibTorch's operators against the one in this project's own kernels: on the CPU,
// where both compute, for every family, every kind of gate and both types.

#include "learner/policy/aten_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "learner/policy/device.h"
#include "learner/policy/torch_headers.h"
#include "tests/common/model_case.h"
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

Evaluation Evaluate(Policy& policy, const PackedBatch& batch, double temperature = 0.8) {
  Evaluation result;
  result.gradient.resize(static_cast<size_t>(policy.spec().parameters()));
  const absl::StatusOr<double> loss = policy.ForwardBackward(
      batch, temperature,
      [&](const at::Tensor& logprobs) {
        const float* values = logprobs.const_data_ptr<float>();
        result.logprobs.assign(values, values + logprobs.numel());
        return logprobs.square().mean();
      },
      result.gradient, &result.stats);
  EXPECT_TRUE(loss.ok()) << loss.status();
  result.loss = loss.value_or(0);
  return result;
}

std::unique_ptr<Policy> Twin(const Policy& policy, const AtenPolicyOptions& options = {}) {
  absl::StatusOr<std::unique_ptr<Policy>> twin = CreateAtenPolicy(policy.spec(), options, 7);
  R1_CHECK(twin.ok());
  R1_CHECK((*twin)->Load(policy.Snapshot(1)).ok());
  return *std::move(twin);
}

double Norm(std::span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares);
}

std::span<const float> OfWeight(const Policy& policy, const std::vector<float>& flat, size_t w) {
  return std::span(flat).subspan(static_cast<size_t>(policy.parameter_offsets()[w]),
                                 static_cast<size_t>(policy.spec().weights[w].elements()));
}

void ExpectTwins(Policy& policy, const PackedBatch& batch) {
  const Evaluation expected = Evaluate(policy, batch);
  const std::unique_ptr<Policy> twin = Twin(policy);
  const Evaluation found = Evaluate(*twin, batch);
  EXPECT_NEAR(found.loss, expected.loss, 1e-5);
  EXPECT_LT(MaxDifference(found.logprobs, expected.logprobs), 1e-5);
  EXPECT_LT(MaxDifference(found.stats.entropy, expected.stats.entropy), 1e-5);
  EXPECT_EQ(found.stats.expert_load, expected.stats.expert_load);
  for (size_t w = 0; w < policy.spec().weights.size(); ++w) {
    if (!policy.spec().weights[w].trainable()) continue;
    const std::span<const float> a = OfWeight(policy, expected.gradient, w);
    const std::span<const float> b = OfWeight(policy, found.gradient, w);
    std::vector<float> difference(a.size());
    for (size_t i = 0; i < a.size(); ++i) difference[i] = b[i] - a[i];
    // The second: what is zero but for rounding, as the gradient of keys' biases.
    EXPECT_LT(Norm(difference), std::max(1e-4 * Norm(a), 1e-6)) << policy.spec().weights[w].name;
  }
}

std::string CaseName(const testing::TestParamInfo<std::string>& info) { return info.param; }

class AtenFamiliesTest : public testing::TestWithParam<std::string> {};

TEST_P(AtenFamiliesTest, ComputesWhatTheCpuPolicyDoes) {
  const absl::StatusOr<ModelCase> golden = ReadModelCase(GetParam());
  ASSERT_TRUE(golden.ok()) << golden.status();
  auto policy = Policy::Create(golden->spec, {}, 1);
  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_TRUE((*policy)->Load(golden->weights).ok());
  // Lengths in more than one group of the padded attention, not in order.
  ExpectTwins(**policy, Pack(RandomSequences(golden->spec, 9, 2, 40)));

  const std::unique_ptr<Policy> twin = Twin(**policy);
  PackedBatch batch;
  batch.Append(golden->ids, 1);
  const auto logits = twin->Logits(batch);
  ASSERT_TRUE(logits.ok()) << logits.status();
  EXPECT_LT(MaxDifference(*logits, std::span(golden->logits).first(logits->size())),
            1e-4 * golden->scale());
}

// What bf16 keeps of numbers of size 1 is 2^-9, and a token near the border between two experts may
// change sides: averages are compared, and the direction of the whole gradient.
TEST_P(AtenFamiliesTest, Bf16StaysClose) {
  const absl::StatusOr<ModelCase> golden = ReadModelCase(GetParam());
  ASSERT_TRUE(golden.ok()) << golden.status();
  auto policy = Policy::Create(golden->spec, {}, 1);
  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_TRUE((*policy)->Load(golden->weights).ok());
  const PackedBatch batch = Pack(RandomSequences(golden->spec, 9, 2, 40));
  const Evaluation expected = Evaluate(**policy, batch);
  const std::unique_ptr<Policy> twin = Twin(**policy, {.bf16 = true});
  const Evaluation found = Evaluate(*twin, batch);
  double distance = 0;
  for (size_t n = 0; n < found.logprobs.size(); ++n) {
    distance += std::abs(found.logprobs[n] - expected.logprobs[n]);
  }
  distance /= static_cast<double>(found.logprobs.size());
  double dot = 0;
  for (size_t i = 0; i < found.gradient.size(); ++i) {
    dot += static_cast<double>(found.gradient[i]) * expected.gradient[i];
  }
  const double cosine = dot / (Norm(found.gradient) * Norm(expected.gradient));
  std::cout << GetParam() << ": mean |difference| of logprobs " << distance
            << ", cosine of gradients " << cosine << "\n";
  EXPECT_GT(distance, 0);
  EXPECT_LT(distance, 0.03);
  EXPECT_GT(cosine, 0.99);
}

INSTANTIATE_TEST_SUITE_P(Families, AtenFamiliesTest, testing::ValuesIn(ModelCaseNames()), CaseName);

TEST(AtenPolicyTest, ComputesEveryShapeOfRouting) {
  for (const TinyShape& shape :
       {TinyShape{}, TinyShape{.q_lora_rank = 5, .shared_experts = 0},
        TinyShape{.experts = 8, .expert_groups = 4, .expert_groups_kept = 2},
        TinyShape{.experts = 8, .expert_groups = 4, .expert_groups_kept = 1},
        TinyShape{.tie_embeddings = true, .rope_interleave = false},
        TinyShape{.normalize_weights = false, .routed_scaling_factor = 2.5}}) {
    const auto policy = RandomPolicy(TinySpec(shape));
    ExpectTwins(*policy, Pack(RandomSequences(policy->spec(), 7, 2, 50)));
  }
}

class AtenMoePolicyTest : public testing::Test {
 protected:
  const std::unique_ptr<Policy> policy_ = RandomPolicy(PresetSpec());
  const PackedBatch batch_ = Pack(RandomSequences(policy_->spec(), 6, 2, 60));
};

TEST_F(AtenMoePolicyTest, RecomputationChangesNoBit) {
  for (const bool bf16 : {false, true}) {
    const Evaluation kept = Evaluate(*Twin(*policy_, {.bf16 = bf16}), batch_);
    const Evaluation again =
        Evaluate(*Twin(*policy_, {.activation_recompute = true, .bf16 = bf16}), batch_);
    EXPECT_TRUE(SameBits(kept.logprobs, again.logprobs));
    EXPECT_TRUE(SameBits(kept.gradient, again.gradient));
    EXPECT_EQ(kept.stats.expert_load, again.stats.expert_load);
  }
}

TEST_F(AtenMoePolicyTest, InferenceAndTrainingGiveTheSameLogprobs) {
  const std::unique_ptr<Policy> twin = Twin(*policy_, {.bf16 = true});
  ForwardStats stats;
  const auto logprobs = twin->Logprobs(batch_, 0.8, &stats);
  ASSERT_TRUE(logprobs.ok()) << logprobs.status();
  const Evaluation training = Evaluate(*twin, batch_);
  EXPECT_TRUE(SameBits(*logprobs, training.logprobs));
  EXPECT_TRUE(SameBits(stats.entropy, training.stats.entropy));
  EXPECT_EQ(stats.expert_load, training.stats.expert_load);
}

TEST_F(AtenMoePolicyTest, GradientsAreAdded) {
  const std::unique_ptr<Policy> twin = Twin(*policy_);
  const Evaluation once = Evaluate(*twin, batch_);
  std::vector<float> twice = once.gradient;
  const auto loss = [](const at::Tensor& logprobs) { return logprobs.square().mean(); };
  ASSERT_TRUE(twin->ForwardBackward(batch_, 0.8, loss, twice, nullptr).ok());
  for (size_t i = 0; i < twice.size(); ++i) EXPECT_EQ(twice[i], 2 * once.gradient[i]);
}

// The copy on the device follows whoever writes: an optimizer, a correction of the biases, Load.
TEST_F(AtenMoePolicyTest, ChangedParametersAreSeenByTheNextPass) {
  const std::unique_ptr<Policy> twin = Twin(*policy_);
  const Evaluation before = Evaluate(*twin, batch_);
  for (float& value : twin->parameters()) value *= 1.1f;
  for (float& value : policy_->parameters()) value *= 1.1f;
  ExpectTwins(*policy_, batch_);
  EXPECT_FALSE(SameBits(Evaluate(*twin, batch_).logprobs, before.logprobs));
  EXPECT_LT(MaxDifference(Evaluate(*twin, batch_).logprobs, Evaluate(*policy_, batch_).logprobs),
            1e-5);
  twin->router_biases()[0] += 10;
  policy_->router_biases()[0] += 10;
  EXPECT_EQ(Evaluate(*twin, batch_).stats.expert_load,
            Evaluate(*policy_, batch_).stats.expert_load);
}

TEST_F(AtenMoePolicyTest, ThreadsShareAPolicy) {
  const std::unique_ptr<Policy> twin = Twin(*policy_);
  const Evaluation alone = Evaluate(*twin, batch_);
  std::vector<Evaluation> together(4);
  std::vector<std::thread> threads;
  for (Evaluation& one : together) {
    threads.emplace_back([&] { one = Evaluate(*twin, batch_); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Evaluation& one : together) EXPECT_TRUE(SameBits(one.gradient, alone.gradient));
}

TEST_F(AtenMoePolicyTest, NonFiniteLossesAndGradientsAreDataLossAndLeaveTheBufferAlone) {
  const std::unique_ptr<Policy> twin = Twin(*policy_);
  std::vector<float> gradient(twin->parameters().size(), 3.0f);
  const std::vector<float> before = gradient;
  const auto status = [&](const Policy::LossFunction& loss) {
    return twin->ForwardBackward(batch_, 1, loss, gradient, nullptr).status();
  };
  const absl::Status infinite = status([](const at::Tensor& logprobs) {
    return logprobs.sum() * std::numeric_limits<double>::infinity();
  });
  // 0, with a slope that the backward pass cannot carry.
  const absl::Status steep = status(
      [](const at::Tensor& logprobs) { return ((logprobs - logprobs.detach()) * 1e38).sum(); });
  EXPECT_EQ(infinite.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(infinite.message()), HasSubstr("the loss of a micro-batch of"));
  EXPECT_EQ(steep.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(steep.message()), HasSubstr("the gradient of model."));
  EXPECT_TRUE(SameBits(gradient, before));
}

TEST(DeviceTest, DevicesThatAreNotThereAreNamedWithWhatToDo) {
  EXPECT_EQ(ResolveDevice("cpu").value(), "cpu");
  const absl::Status unknown = ResolveDevice("tpu").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("expected cpu, cuda"));
  const absl::StatusOr<std::string> missing = ResolveDevice("cuda:63");
  ASSERT_EQ(missing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("device cuda:63: expected"));
  const std::string first = ResolveDevice("auto").value();
  EXPECT_TRUE(first == "cpu" || first == "cuda:0") << first;
}

}  // namespace
}  // namespace r1::learner
