// What the families make of their config.json: rotary scalings in numbers, defaults, names of
// weights, and refusals. That the mathematics is right is shown by the goldens (model_case.h).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>

#include "common/models/model_spec.h"

namespace r1 {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json DenseConfig(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 40},
          {"hidden_size", 32},        {"intermediate_size", 48},
          {"num_hidden_layers", 2},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 256}};
}

json Qwen3MoeConfig() {
  json config = DenseConfig("qwen3_moe");
  config.update({{"num_experts", 8}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 16}});
  return config;
}

json DeepseekV2Config() {
  json config = DenseConfig("deepseek_v2");
  config.update({{"num_key_value_heads", 4},
                 {"q_lora_rank", nullptr},
                 {"kv_lora_rank", 16},
                 {"qk_nope_head_dim", 8},
                 {"qk_rope_head_dim", 8},
                 {"v_head_dim", 8},
                 {"first_k_dense_replace", 1},
                 {"n_routed_experts", 8},
                 {"n_shared_experts", 2},
                 {"num_experts_per_tok", 2},
                 {"moe_intermediate_size", 16}});
  return config;
}

ModelSpec MustParse(const json& config) {
  const auto spec = ParseModelSpec(config.dump());
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.value_or(ModelSpec());
}

std::string ErrorOf(const json& config) {
  const absl::Status status = ParseModelSpec(config.dump()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

// R1's numbers: 64 rotated channels, theta 10,000, 4096 positions stretched by 40.
TEST(RopeConfigTest, YarnOfR1) {
  json config = DeepseekV2Config();
  config.update({{"qk_nope_head_dim", 128},
                 {"qk_rope_head_dim", 64},
                 {"max_position_embeddings", 163840},
                 {"rope_scaling",
                  {{"type", "yarn"},
                   {"factor", 40},
                   {"beta_fast", 32},
                   {"beta_slow", 1},
                   {"mscale", 1.0},
                   {"mscale_all_dim", 1.0},
                   {"original_max_position_embeddings", 4096}}}});
  const ModelSpec spec = MustParse(config);
  const MlaSpec& mla = *spec.layers[0].mla;
  const RopeSpec plain = PlainRope(64, 10000, true);
  const std::vector<float>& scaled = mla.rope.inverse_frequencies;
  // 64 ln(4096 / (2 pi r)) / (2 ln 10000) is 10.47 for 32 turns and 22.51 for one.
  EXPECT_EQ(scaled[10], plain.inverse_frequencies[10]);
  EXPECT_LT(scaled[11], plain.inverse_frequencies[11]);
  EXPECT_GT(scaled[22], plain.inverse_frequencies[22] / 40);
  EXPECT_FLOAT_EQ(scaled[23], plain.inverse_frequencies[23] / 40);
  // Half way between 10 and 23 would be 16.5: at 16 a part 6 / 13 is stretched.
  EXPECT_FLOAT_EQ(scaled[16], plain.inverse_frequencies[16] * (6.0f / 13 / 40 + 7.0f / 13));
  EXPECT_EQ(mla.rope.magnitude, 1);
  const double m = 0.1 * std::log(40) + 1;
  EXPECT_DOUBLE_EQ(mla.softmax_scale, m * m / std::sqrt(192.0));
  EXPECT_EQ(spec.positions_max, 163840);
}

TEST(RopeConfigTest, YarnWithoutMscaleScalesCosinesAndMakesRoom) {
  json config = DenseConfig("qwen2");
  config["rope_scaling"] = {
      {"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 256}};
  const ModelSpec spec = MustParse(config);
  EXPECT_FLOAT_EQ(spec.layers[0].gqa->rope.magnitude, static_cast<float>(0.1 * std::log(4) + 1));
  EXPECT_DOUBLE_EQ(spec.layers[0].gqa->softmax_scale, 1 / std::sqrt(8.0));
  EXPECT_EQ(spec.positions_max, 1024);
}

TEST(RopeConfigTest, Llama3StretchesLongWavelengths) {
  json config = DenseConfig("llama");
  config.update({{"head_dim", 128},
                 {"rope_theta", 500000.0},
                 {"rope_scaling",
                  {{"rope_type", "llama3"},
                   {"factor", 8.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0},
                   {"original_max_position_embeddings", 8192}}}});
  const RopeSpec rope = MustParse(config).layers[0].rope();
  const RopeSpec plain = PlainRope(128, 500000, false);
  EXPECT_EQ(rope.magnitude, 1);
  for (size_t i = 0; i < 64; ++i) {
    const double wavelength = 2 * std::numbers::pi / plain.inverse_frequencies[i];
    const float frequency = plain.inverse_frequencies[i];
    if (wavelength < 8192 / 4.0) {
      EXPECT_EQ(rope.inverse_frequencies[i], frequency);
    } else if (wavelength > 8192) {
      EXPECT_FLOAT_EQ(rope.inverse_frequencies[i], frequency / 8);
    } else {
      const double kept = (8192 / wavelength - 1) / 3;
      EXPECT_NEAR(rope.inverse_frequencies[i], (1 - kept) * frequency / 8 + kept * frequency,
                  1e-6 * frequency);
    }
  }
}

TEST(RopeConfigTest, BothDialectsGiveTheSameSpec) {
  json published = DenseConfig("qwen2");
  published.update({{"rope_theta", 1e6},
                    {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}},
                    {"torch_dtype", "bfloat16"}});
  json newer = DenseConfig("qwen2");
  newer.update(
      {{"rope_parameters", {{"rope_theta", 1e6}, {"rope_type", "linear"}, {"factor", 2.0}}},
       {"dtype", "bfloat16"}});
  const ModelSpec a = MustParse(published), b = MustParse(newer);
  EXPECT_EQ(a.layers[0].rope(), b.layers[0].rope());
  EXPECT_EQ(a.positions_max, 512);
  EXPECT_FLOAT_EQ(a.layers[0].rope().inverse_frequencies[0], 0.5f);
  newer["rope_scaling"] = {{"type", "yarn"}, {"factor", 2.0}};
  EXPECT_THAT(ErrorOf(newer), HasSubstr("rope_scaling: expected the same as rope_parameters"));
}

TEST(FamiliesTest, BiasesAreThoseOfTheFamily) {
  const auto has = [](const ModelSpec& spec, WeightRole role) {
    return spec.FindWeight(role, 1).ok();
  };
  // Qwen2's are there without being asked for, and attention_bias does not add one to the output.
  json config = DenseConfig("qwen2");
  config["attention_bias"] = true;
  const ModelSpec qwen2 = MustParse(config);
  EXPECT_TRUE(has(qwen2, WeightRole::kKeyBias));
  EXPECT_FALSE(has(qwen2, WeightRole::kOutputBias));

  const ModelSpec llama = MustParse(DenseConfig("llama"));
  EXPECT_FALSE(has(llama, WeightRole::kKeyBias));
  EXPECT_FALSE(has(llama, WeightRole::kGateBias));
  config = DenseConfig("llama");
  config.update({{"attention_bias", true}, {"mlp_bias", true}});
  const ModelSpec biased = MustParse(config);
  for (const WeightRole role : {WeightRole::kQueryBias, WeightRole::kOutputBias,
                                WeightRole::kGateBias, WeightRole::kDownBias}) {
    EXPECT_TRUE(has(biased, role)) << WeightRoleName(role);
  }

  config = DeepseekV2Config();
  config["attention_bias"] = true;
  const ModelSpec latent = MustParse(config);
  EXPECT_TRUE(has(latent, WeightRole::kKvDownBias));
  EXPECT_TRUE(has(latent, WeightRole::kOutputBias));
  EXPECT_FALSE(has(latent, WeightRole::kQueryBias));
  EXPECT_FALSE(has(latent, WeightRole::kRouterBias));
}

TEST(FamiliesTest, MissingKeysStandForWhatTransformersTakes) {
  json config = DenseConfig("llama");
  config.erase("num_key_value_heads");
  const GqaSpec llama = *MustParse(config).layers[0].gqa;
  EXPECT_EQ(llama.kv_heads, 4);
  EXPECT_EQ(llama.head_dim, 8);
  EXPECT_EQ(MustParse(DenseConfig("qwen3")).layers[0].gqa->head_dim, 128);
  EXPECT_TRUE(MustParse(DenseConfig("qwen3")).layers[0].gqa->qk_norm);
  const ModelSpec moe = MustParse(Qwen3MoeConfig());
  EXPECT_EQ(moe.layers[0].gqa->head_dim, 8);
  EXPECT_FALSE(moe.layers[0].moe->normalize_weights);
  EXPECT_EQ(moe.layers[0].moe->gate, MoeGate::kSoftmax);
}

TEST(FamiliesTest, SparseLayersOfQwen3Moe) {
  json config = Qwen3MoeConfig();
  config.update(
      {{"num_hidden_layers", 6}, {"decoder_sparse_step", 2}, {"mlp_only_layers", {3, 100}}});
  const ModelSpec spec = MustParse(config);
  for (const size_t layer : {0, 2, 3, 4}) EXPECT_TRUE(spec.layers[layer].dense) << layer;
  for (const size_t layer : {1, 5}) EXPECT_TRUE(spec.layers[layer].moe) << layer;
  config["num_local_experts"] = config["num_experts"];
  config.erase("num_experts");
  EXPECT_EQ(MustParse(config).weights.size(), spec.weights.size());
}

TEST(FamiliesTest, GroupsOfDeepseekV2) {
  json config = DeepseekV2Config();
  config.update({{"n_group", 4}, {"topk_group", 2}, {"norm_topk_prob", true}});
  EXPECT_EQ(MustParse(config).layers[1].moe->expert_groups, 1);  // greedy looks at no groups
  config["topk_method"] = "group_limited_greedy";
  const ModelSpec spec = MustParse(config);
  EXPECT_EQ(spec.layers[1].moe->expert_groups, 4);
  EXPECT_EQ(spec.layers[1].moe->expert_groups_kept, 2);
  EXPECT_FALSE(spec.layers[1].moe->normalize_weights);
  EXPECT_EQ(spec.layers[1].moe->shared_intermediate, 32);
  config["n_group"] = 3;
  EXPECT_THAT(ErrorOf(config),
              HasSubstr("n_group: expected a divisor of the number of experts, 8"));
}

TEST(FamiliesTest, EndsOfTextAreOneOrMany) {
  json config = DenseConfig("llama");
  config["eos_token_id"] = {7, -1, 9};
  EXPECT_THAT(MustParse(config).eos_ids, testing::ElementsAre(7, 9));
  config["eos_token_id"] = 3;
  EXPECT_THAT(MustParse(config).eos_ids, testing::ElementsAre(3));
  config["eos_token_id"] = nullptr;
  EXPECT_TRUE(MustParse(config).eos_ids.empty());
}

TEST(FamiliesTest, OtherMathematicsIsRefusedByName) {
  const struct {
    const char* family;
    json changes;
    const char* message;
  } kCases[] = {
      {"qwen2",
       {{"use_sliding_window", true}, {"sliding_window", 8}},
       "use_sliding_window: expected false"},
      {"qwen3", {{"layer_types", {"full_attention", "sliding_attention"}}}, "layer_types"},
      {"qwen2", {{"num_key_value_heads", 3}}, "num_key_value_heads: expected a divisor of"},
      {"llama",
       {{"num_attention_heads", 5}, {"num_key_value_heads", 5}},
       "num_attention_heads: expected a divisor of hidden_size, 32, where head_dim is missing"},
      {"llama", {{"head_dim", 7}}, "head_dim: expected an even number"},
      {"llama", {{"hidden_act", "relu"}}, "hidden_act: expected \"silu\" or \"swish\""},
      {"llama", {{"architectures", {"LlamaForSequenceClassification"}}}, "architectures"},
      {"llama", {{"final_logit_softcapping", 30}}, "final_logit_softcapping"},
      {"qwen3", {{"attention_bias", "yes"}}, "attention_bias: expected true or false"},
  };
  for (const auto& c : kCases) {
    json config = DenseConfig(c.family);
    config.update(c.changes);
    EXPECT_THAT(ErrorOf(config), HasSubstr(c.message));
  }
  json config = DenseConfig("qwen2");  // a window that is not in use, or not reached
  config.update({{"use_sliding_window", false}, {"sliding_window", 8}});
  EXPECT_EQ(MustParse(config).layers.size(), 2u);
  config.update({{"use_sliding_window", true}, {"max_window_layers", 2}});
  EXPECT_EQ(MustParse(config).layers.size(), 2u);
  config = Qwen3MoeConfig();
  config["mlp_only_layers"] = 3;
  EXPECT_THAT(ErrorOf(config), HasSubstr("mlp_only_layers: expected a list of layers"));
  config = DeepseekV2Config();
  config["mlp_bias"] = true;
  EXPECT_THAT(ErrorOf(config), HasSubstr("mlp_bias: expected false"));
}

}  // namespace
}  // namespace r1
