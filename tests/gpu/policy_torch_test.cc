// The learner's passes on a GPU against those of the CPU: in bf16 on both, and against fp32. Needs
// LibTorch's CUDA half beside the program; tests/gpu/run.sh policy finds it.

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "learner/policy/aten_policy.h"
#include "learner/policy/device.h"
#include "learner/policy/torch_headers.h"
#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

struct Evaluation {
  std::vector<float> logprobs;
  std::vector<float> gradient;
  ForwardStats stats;
};

Evaluation Evaluate(Policy& policy, const PackedBatch& batch) {
  Evaluation result;
  result.gradient.resize(static_cast<size_t>(policy.spec().parameters()));
  const absl::StatusOr<double> loss = policy.ForwardBackward(
      batch, 0.8,
      [&](const at::Tensor& logprobs) {
        const float* values = logprobs.const_data_ptr<float>();
        result.logprobs.assign(values, values + logprobs.numel());
        return logprobs.square().mean();
      },
      result.gradient, &result.stats);
  EXPECT_TRUE(loss.ok()) << loss.status();
  return result;
}

double Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, a_squares = 0, b_squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += static_cast<double>(a[i]) * b[i];
    a_squares += static_cast<double>(a[i]) * a[i];
    b_squares += static_cast<double>(b[i]) * b[i];
  }
  return dot / std::sqrt(a_squares * b_squares);
}

double MeanDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(static_cast<double>(a[i]) - b[i]);
  return sum / static_cast<double>(a.size());
}

class PolicyTorchTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const absl::StatusOr<std::string> device = ResolveDevice("cuda");
    if (device.ok()) return;
    ASSERT_EQ(std::getenv("R1_REQUIRE_GPU"), nullptr) << device.status();
    GTEST_SKIP() << device.status();
  }

  const ModelSpec spec_ = *ParseModelSpec(*PresetConfigJson(GetParam(), 32, 1, 2));
};

TEST_P(PolicyTorchTest, ComputesWhatTheCpuDoes) {
  const PackedBatch batch = Pack(RandomSequences(spec_, 24, 5, 60));
  const auto exact = RandomPolicy(spec_);
  const Evaluation expected = Evaluate(*exact, batch);
  const auto rounded = CreateAtenPolicy(spec_, {.bf16 = true}, 1).value();
  ASSERT_TRUE(rounded->Load(exact->Snapshot(1)).ok());
  const Evaluation cpu = Evaluate(*rounded, batch);
  for (const bool recompute : {false, true}) {
    const auto policy =
        RandomPolicy(spec_, 1, {.activation_recompute = recompute, .device = "cuda:0"});
    const Evaluation gpu = Evaluate(*policy, batch);
    const double to_exact = MeanDifference(gpu.logprobs, expected.logprobs);
    const double to_cpu = MeanDifference(gpu.logprobs, cpu.logprobs);
    const double cosine = Cosine(gpu.gradient, expected.gradient);
    std::cout << GetParam() << (recompute ? ", recomputing" : "")
              << ": mean |difference| of logprobs " << to_exact
              << " to fp32 (the CPU in bf16: " << MeanDifference(cpu.logprobs, expected.logprobs)
              << "), " << to_cpu << " to the CPU in bf16; cosine of gradients " << cosine << "\n";
    // bf16 on the CPU rounds in the same places: the GPU is about as far from fp32.
    EXPECT_LT(to_exact, 0.03);
    EXPECT_LT(to_cpu, 0.03);
    EXPECT_GT(cosine, 0.99);
    EXPECT_LT(MeanDifference(gpu.stats.entropy, expected.stats.entropy), 0.03);
    const std::vector<int64_t>& load = gpu.stats.expert_load;
    EXPECT_EQ(std::accumulate(load.begin(), load.end(), int64_t{0}),
              std::accumulate(expected.stats.expert_load.begin(), expected.stats.expert_load.end(),
                              int64_t{0}));
  }
}

TEST_P(PolicyTorchTest, ChangedParametersAreSeenByTheNextPass) {
  const PackedBatch batch = Pack(RandomSequences(spec_, 8, 5, 60));
  const auto policy = RandomPolicy(spec_, 1, {.device = "cuda:0"});
  const Evaluation before = Evaluate(*policy, batch);
  // Repeated passes differ by the order of atomic additions in the backward pass alone.
  EXPECT_TRUE(SameBits(Evaluate(*policy, batch).logprobs, before.logprobs));
  for (float& value : policy->parameters()) value *= 1.1f;
  EXPECT_FALSE(SameBits(Evaluate(*policy, batch).logprobs, before.logprobs));
}

TEST_P(PolicyTorchTest, PrintsTheTimeOfALargeMicroBatch) {
  const PackedBatch batch = Pack(RandomSequences(spec_, 640, 40, 70));
  const auto policy = RandomPolicy(spec_, 1, {.device = "cuda:0"});
  for (int round = 0; round < 4; ++round) {
    const auto start = std::chrono::steady_clock::now();
    Evaluate(*policy, batch);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << GetParam() << ": " << batch.token_count() << " tokens forward and backward in "
              << 1e3 * seconds.count() << " ms\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Presets, PolicyTorchTest,
                         testing::Values("moe_small", "qwen_tiny", "llama_tiny"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace r1::learner
