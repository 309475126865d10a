// Costs of models against counts by hand and published figures.

#include "common/models/model_costs.h"

#include <gtest/gtest.h>

#include <string>

namespace r1 {
namespace {

ModelSpec Preset(const std::string& name) {
  return *ParseModelSpec(*PresetConfigJson(name, 32, 0, 1));
}

// qwen_tiny: D 64, two layers, four heads and two key heads of 16, MLP of 128, tied embeddings.
TEST(ModelCostsTest, DenseModelByHand) {
  const ModelSpec spec = Preset("qwen_tiny");
  const double attention = 64 * 64 + 2 * 64 * 32 + 64 * 64, mlp = 3 * 64 * 128;
  EXPECT_DOUBLE_EQ(ProductFlops(spec), 2 * (2 * (attention + mlp) + 32 * 64));
  EXPECT_DOUBLE_EQ(AttentionFlops(spec, 100, false), 2 * 2 * (2 * 4 * 16) * 100.0);
  EXPECT_EQ(CacheValues(spec), 2 * 2 * 2 * 16);
  EXPECT_DOUBLE_EQ(TouchedBytes(spec, 1, {1, 1}), static_cast<double>(spec.parameters()));
}

// moe_tiny: D 32, one dense layer and one with 4 experts of 16, two a token, a shared one; two
// heads of 8 + 8 with latents of 16 and values of 16.
TEST(ModelCostsTest, LatentAttentionAndExpertsByHand) {
  const ModelSpec spec = Preset("moe_tiny");
  const double attention = 32 * 2 * 16 + 32 * (16 + 8) + 16 * 2 * (8 + 16) + 2 * 16 * 32;
  const double expert = 3 * 32 * 16;
  const double layers = 2 * attention + 3 * 32 * 48 + 4 * 32 + (2 + 1) * expert;
  EXPECT_DOUBLE_EQ(ProductFlops(spec), 2 * (layers + 32 * 32));
  EXPECT_DOUBLE_EQ(AttentionFlops(spec, 10, false), 2 * 2 * 2 * (8 + 8 + 16) * 10.0);
  EXPECT_DOUBLE_EQ(AttentionFlops(spec, 10, true), 2 * 2 * 2 * (16 + 8 + 16) * 10.0);
  EXPECT_EQ(CacheValues(spec), 2 * (16 + 8));
  // One token reads two of four experts; two tokens 1 - 1/4 of them.
  EXPECT_NEAR(TouchedBytes(spec, 2, {1, 1}) - TouchedBytes(spec, 1, {1, 1}), expert + 32, 1e-6);
}

}  // namespace
}  // namespace r1
