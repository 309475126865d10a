// The router on the GPU against double precision: which experts, in which order, with which
// weights; rules of groups, bias and ties; and that a token's choice does not depend on the batch.
#include <cmath>
#include <limits>

#include "kernels/cuda/moe_router_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/naive_cuda.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

struct Choices {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Choices Route(const MoeRouterBf16Shape& shape, const DeviceBuffer<__nv_bfloat16>& x, int first,
              int tokens, const DeviceBuffer<__nv_bfloat16>& router,
              const DeviceBuffer<float>& bias) {
  DeviceBuffer<int32_t> experts(int64_t{tokens} * shape.active);
  DeviceBuffer<float> weights(int64_t{tokens} * shape.active);
  experts.Fill(0xFF);
  weights.Fill(0xFF);
  R1_CHECK_CUDA(MoeRouterBf16Sm90({.shape = shape,
                                   .tokens = tokens,
                                   .x = x.data() + int64_t{first} * shape.hidden,
                                   .x_stride = shape.hidden,
                                   .router = router.data(),
                                   .bias = bias.size() > 0 ? bias.data() : nullptr,
                                   .experts = experts.data(),
                                   .weights = weights.data()},
                                  nullptr));
  return {experts.ToHost(), weights.ToHost()};
}

class MoeRouterGpuTest : public GpuTest {};

// bias_std 0: no bias.
void ExpectMatchesOracle(const MoeRouterBf16Shape& shape, int tokens, double bias_std,
                         uint64_t seed) {
  ASSERT_EQ(MoeRouterBf16Sm90Unsupported(shape), nullptr);
  const auto x = NormalBf16(int64_t{tokens} * shape.hidden, 1, seed);
  const auto router = NormalBf16(int64_t{shape.experts} * shape.hidden, 0.02f, seed + 1);
  std::vector<float> bias;
  if (bias_std > 0) {
    Rng rng = TestRng(seed);
    for (int e = 0; e < shape.experts; ++e)
      bias.push_back(static_cast<float>((rng.NextUniform() - 0.5) * bias_std));
  }
  const Choices choices = Route(shape, x, 0, tokens, router, DeviceBuffer<float>(bias));

  DeviceBuffer<double> logits_device(int64_t{tokens} * shape.experts);
  NaiveMatmul(x.data(), router.data(), tokens, shape.experts, shape.hidden, logits_device.data());
  const std::vector<double> logits = logits_device.ToHost();
  int compared = 0;
  for (int t = 0; t < tokens; ++t) {
    const RouterChoice oracle = RouterOracle(
        {logits.begin() + t * shape.experts, logits.begin() + (t + 1) * shape.experts}, bias,
        {.active = shape.active,
         .groups = shape.groups,
         .groups_kept = shape.groups_kept,
         .softmax = shape.softmax,
         .normalize = shape.normalize,
         .scaling = shape.scaling});
    if (oracle.margin < 2e-6) continue;  // fp32 may rightly decide otherwise
    ++compared;
    for (int a = 0; a < shape.active; ++a) {
      ASSERT_EQ(choices.experts[t * shape.active + a], oracle.experts[a])
          << "token " << t << " slot " << a;
      ASSERT_NEAR(choices.weights[t * shape.active + a] / oracle.weights[a], 1, 1e-5)
          << "token " << t;
    }
  }
  EXPECT_GE(compared, tokens * 99 / 100);
}

TEST_F(MoeRouterGpuTest, SmallBatchesMatchTheOracle) {
  const MoeRouterBf16Shape shape = {.hidden = 128, .experts = 64, .active = 6, .scaling = 2.5};
  for (const int tokens : {1, 2, 15, 16, 17, 100}) ExpectMatchesOracle(shape, tokens, 0.5, tokens);
}

TEST_F(MoeRouterGpuTest, M16MatchesWithGroupsAndBias) {
  MoeRouterBf16Shape shape = {
      .hidden = 2048, .experts = 64, .active = 6, .groups = 8, .groups_kept = 4, .scaling = 2.5};
  for (const int tokens : {1, 7, 64, 512, 4096}) ExpectMatchesOracle(shape, tokens, 0.5, tokens);
  // Choices below zero: what is masked must lose against them too.
  ExpectMatchesOracle(shape, 300, 3, 77);
  shape.groups = shape.groups_kept = 1;
  ExpectMatchesOracle(shape, 512, 0, 78);
}

TEST_F(MoeRouterGpuTest, OtherShapesMatch) {
  // DeepSeek-V3, Qwen3-30B-A3B, groups of one expert, columns that do not fill a cluster.
  ExpectMatchesOracle(
      {.hidden = 7168, .experts = 256, .active = 8, .groups = 8, .groups_kept = 4, .scaling = 2.5},
      65, 0.5, 1);
  ExpectMatchesOracle({.hidden = 2048, .experts = 128, .active = 8, .softmax = true}, 65, 0, 2);
  ExpectMatchesOracle(
      {.hidden = 2048, .experts = 64, .active = 6, .softmax = true, .normalize = false}, 65, 0, 3);
  ExpectMatchesOracle({.hidden = 256, .experts = 32, .active = 5, .groups = 32, .groups_kept = 9},
                      65, 0.5, 4);
  ExpectMatchesOracle({.hidden = 96, .experts = 32, .active = 32}, 20, 0.5, 5);
}

TEST_F(MoeRouterGpuTest, SmallTiesGoToTheLowerId) {
  const MoeRouterBf16Shape shape = {
      .hidden = 128, .experts = 32, .active = 3, .groups = 4, .groups_kept = 2};
  const auto x = NormalBf16(shape.hidden, 1, 1);
  DeviceBuffer<__nv_bfloat16> router(int64_t{shape.experts} * shape.hidden);
  router.Fill(0);
  const Choices choices = Route(shape, x, 0, 1, router, DeviceBuffer<float>());
  EXPECT_EQ(choices.experts, (std::vector<int32_t>{0, 1, 2}));
  for (const float weight : choices.weights) EXPECT_FLOAT_EQ(weight, 1.0f / 3);
}

TEST_F(MoeRouterGpuTest, SmallInputThatIsNoNumberStillGivesValidIds) {
  const MoeRouterBf16Shape shape = {.hidden = 128, .experts = 32, .active = 3};
  DeviceBuffer<__nv_bfloat16> x(shape.hidden);
  x.Fill(0xFF);
  const auto router = NormalBf16(int64_t{shape.experts} * shape.hidden, 0.02f, 2);
  const Choices choices = Route(shape, x, 0, 1, router, DeviceBuffer<float>());
  EXPECT_EQ(choices.experts, (std::vector<int32_t>{0, 1, 2}));
  for (const float weight : choices.weights) EXPECT_TRUE(std::isnan(weight));
}

TEST_F(MoeRouterGpuTest, TokenHasTheSameBitsInEveryBatch) {
  const MoeRouterBf16Shape shape = {.hidden = 2048, .experts = 64, .active = 6};
  const int tokens = 512;
  const auto x = NormalBf16(int64_t{tokens} * shape.hidden, 1, 5);
  const auto router = NormalBf16(int64_t{shape.experts} * shape.hidden, 0.02f, 6);
  const DeviceBuffer<float> bias;
  const Choices together = Route(shape, x, 0, tokens, router, bias);
  for (int token = 0; token < tokens; token += 37) {
    const Choices alone = Route(shape, x, token, 1, router, bias);
    for (int a = 0; a < shape.active; ++a) {
      EXPECT_EQ(alone.experts[a], together.experts[token * shape.active + a]);
      EXPECT_EQ(alone.weights[a], together.weights[token * shape.active + a]);
    }
  }
}

}  // namespace
}  // namespace r1::kernels
