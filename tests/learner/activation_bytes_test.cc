// The memory of a training pass, as computed, against what its tensors take.

#include "learner/policy/activation_bytes.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "learner/policy/tensor_pool.h"
#include "learner/policy/torch_headers.h"
#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

constexpr int kVocab = 512;

class ActivationBytesTest : public testing::TestWithParam<std::tuple<const char*, bool>> {};

TEST_P(ActivationBytesTest, IsWithinATenthOfWhatAPassTakes) {
  const auto& [preset, recompute] = GetParam();
  const ModelSpec spec = *ParseModelSpec(*PresetConfigJson(preset, kVocab, 0, 1));
  const auto policy = RandomPolicy(spec, 1, {.activation_recompute = recompute});
  const PackedBatch batch = Pack(RandomSequences(spec, 40, 50, 100));
  std::vector<float> gradient(policy->parameters().size());
  const auto pass = [&] {
    const auto loss = policy->ForwardBackward(
        batch, 1, [](const at::Tensor& logprobs) { return -logprobs.mean(); }, gradient, nullptr);
    ASSERT_TRUE(loss.ok()) << loss.status();
  };
  pass();
  ResetTensorPoolPeak();
  const int64_t before = GetTensorPoolStats().bytes_allocated;
  pass();
  const auto measured = static_cast<double>(GetTensorPoolStats().bytes_peak - before);

  const PassBytes bytes = TrainingPassBytes(spec,
                                            {.tokens = batch.token_count(),
                                             .targets = batch.target_count(),
                                             .activation_recompute = recompute},
                                            sizeof(float));
  EXPECT_NEAR(static_cast<double>(bytes.peak), measured, 0.1 * measured);
  EXPECT_LT(bytes.kept, bytes.peak);
  EXPECT_EQ(bytes.gradients, static_cast<int64_t>(gradient.size() * sizeof(float)));
  RecordProperty("share_of_measured", std::to_string(static_cast<double>(bytes.peak) / measured));
}

INSTANTIATE_TEST_SUITE_P(Presets, ActivationBytesTest,
                         testing::Combine(testing::Values("moe_mini", "moe_tiny", "qwen_tiny",
                                                          "llama_tiny"),
                                          testing::Bool()));

}  // namespace
}  // namespace r1::learner
