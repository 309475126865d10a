// The learner against transformers on tiny random checkpoints of every family: logits, logprobs,
// greedy tokens and the gradient norm of every parameter, read as a user's folder would be.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "learner/policy/policy.h"
#include "learner/policy/torch_headers.h"
#include "tests/common/model_case.h"

namespace r1::learner {
namespace {

std::unique_ptr<Policy> MakePolicy(const ModelCase& golden, const PolicyOptions& options = {}) {
  auto policy = Policy::Create(golden.spec, options, 1);
  R1_CHECK(policy.ok());
  R1_CHECK((*policy)->Load(golden.weights).ok());
  return *std::move(policy);
}

PackedBatch Sequences(const ModelCase& golden, int copies = 1) {
  PackedBatch batch;
  for (int i = 0; i < copies; ++i) batch.Append(golden.ids, 1);
  return batch;
}

class ModelGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto read = ReadModelCase(GetParam());
    ASSERT_TRUE(read.ok()) << read.status();
    golden_ = *std::move(read);
  }
  ModelCase golden_;
};

TEST_P(ModelGoldenTest, LogitsAreThoseOfTransformers) {
  const auto policy = MakePolicy(golden_);
  const auto logits = policy->Logits(Sequences(golden_));
  ASSERT_TRUE(logits.ok()) << logits.status();
  // Targets are the rows 0..T-2.
  ASSERT_EQ(logits->size() + static_cast<size_t>(golden_.spec.vocab), golden_.logits.size());
  double largest = 0;
  for (size_t i = 0; i < logits->size(); ++i) {
    largest = std::max<double>(largest, std::fabs((*logits)[i] - golden_.logits[i]));
  }
  EXPECT_LT(largest, 1e-4 * golden_.scale());
}

TEST_P(ModelGoldenTest, LogprobsAreThoseOfTransformersWithEveryInstructionSet) {
  for (const char* isa : {"reference", "auto"}) {
    const auto policy = MakePolicy(golden_, {.isa = isa});
    const auto logprobs = policy->Logprobs(Sequences(golden_, 2), 1, nullptr);
    ASSERT_TRUE(logprobs.ok()) << logprobs.status();
    ASSERT_EQ(logprobs->size(), 2 * golden_.logprobs.size());
    for (size_t i = 0; i < logprobs->size(); ++i) {
      EXPECT_NEAR((*logprobs)[i], golden_.logprobs[i % golden_.logprobs.size()], 1e-5);
    }
  }
}

TEST_P(ModelGoldenTest, GreedyTokensAreThoseOfTransformers) {
  const auto policy = MakePolicy(golden_);
  const auto vocab = static_cast<size_t>(golden_.spec.vocab);
  std::vector<int32_t> text(golden_.ids.begin(), golden_.ids.begin() + golden_.prompt_tokens);
  std::vector<int32_t> found;
  while (found.size() < golden_.greedy.size()) {
    PackedBatch batch;
    batch.Append(text, 1);
    // The last row has no target in the sequence: any token makes it one.
    batch.target_rows = {static_cast<int32_t>(text.size()) - 1};
    batch.target_tokens = {0};
    batch.target_sequences = {0};
    const auto logits = policy->Logits(batch);
    ASSERT_TRUE(logits.ok()) << logits.status();
    ASSERT_EQ(logits->size(), vocab);
    found.push_back(
        static_cast<int32_t>(std::max_element(logits->begin(), logits->end()) - logits->begin()));
    text.push_back(found.back());
  }
  EXPECT_EQ(found, golden_.greedy);
}

TEST_P(ModelGoldenTest, GradientNormsAreThoseOfTransformers) {
  for (const bool recompute : {false, true}) {
    const auto policy = MakePolicy(golden_, {.activation_recompute = recompute});
    std::vector<float> gradient(policy->parameters().size());
    const auto loss = policy->ForwardBackward(
        Sequences(golden_), 1, [](const at::Tensor& logprobs) { return -logprobs.mean(); },
        gradient, nullptr);
    ASSERT_TRUE(loss.ok()) << loss.status();
    size_t compared = 0;
    for (size_t w = 0; w < golden_.spec.weights.size(); ++w) {
      const WeightSpec& weight = golden_.spec.weights[w];
      if (!weight.trainable()) continue;
      double squares = 0;
      for (int64_t i = 0; i < weight.elements(); ++i) {
        const double g = gradient[static_cast<size_t>(policy->parameter_offsets()[w] + i)];
        squares += g * g;
      }
      ASSERT_EQ(golden_.grad_norms.count(weight.name), 1u) << weight.name;
      const double expected = golden_.grad_norms.at(weight.name);
      // An expert that no token goes to, or the bias of keys, to which a softmax is blind, has a
      // gradient of rounding errors alone.
      EXPECT_NEAR(std::sqrt(squares), expected, std::max(1e-4 * expected, 1e-7)) << weight.name;
      ++compared;
    }
    EXPECT_EQ(compared, golden_.grad_norms.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ModelGoldenTest, testing::ValuesIn(ModelCaseNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace r1::learner
