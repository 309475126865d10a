// ModelSpec: the built-in presets, the DeepSeek-V3 family in both config dialects, and the errors
// for configs that are wrong or not supported.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/models/model_spec.h"

namespace r1 {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json MiniConfig() { return json::parse(*PresetConfigJson("moe_mini", 32, 1, 2)); }

ModelSpec MustParse(const json& config) {
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(config.dump());
  R1_CHECK(spec.ok());
  return *std::move(spec);
}

const WeightSpec& Weight(const ModelSpec& spec, WeightRole role, int layer = -1, int expert = -1) {
  return spec.weights[static_cast<size_t>(*spec.FindWeight(role, layer, expert))];
}

TEST(PresetTest, MoeMiniHasTheDocumentedSizes) {
  const ModelSpec spec = MustParse(MiniConfig());
  EXPECT_EQ(spec.family, "deepseek_v3");
  EXPECT_EQ(spec.parameters(), 418560);
  EXPECT_EQ(spec.active_parameters(), 252672);
  ASSERT_EQ(spec.layers.size(), 3u);
  EXPECT_EQ(spec.layers[0].dense->intermediate, 192);
  EXPECT_FALSE(spec.layers[0].moe.has_value());
  EXPECT_FALSE(spec.layers[1].dense.has_value());
  const MoeSpec& moe = *spec.layers[2].moe;
  EXPECT_EQ(moe.experts, 8);
  EXPECT_EQ(moe.experts_per_token, 2);
  EXPECT_EQ(moe.intermediate, 48);
  EXPECT_EQ(moe.shared_intermediate, 48);
  EXPECT_TRUE(moe.normalize_weights);
  EXPECT_EQ(moe.routed_scaling_factor, 1);
  const MlaSpec& attention = *spec.layers[0].mla;
  EXPECT_EQ(attention.heads, 4);
  EXPECT_EQ(attention.q_lora_rank, 0);
  EXPECT_EQ(attention.softmax_scale, 1 / std::sqrt(32.0));
  EXPECT_EQ(attention.rope, PlainRope(16, 1000, true));
  EXPECT_EQ(attention.rope.dim, 16);
  EXPECT_TRUE(attention.rope.interleaved);
  EXPECT_EQ(spec.rms_norm_eps, 1e-6);
}

TEST(PresetTest, InitialWeightsFollowTheRecipe) {
  const ModelSpec spec = MustParse(MiniConfig());
  EXPECT_EQ(Weight(spec, WeightRole::kEmbedding).init_std, 1);
  EXPECT_EQ(Weight(spec, WeightRole::kHead).init_std, 1 / std::sqrt(96.0));
  EXPECT_EQ(Weight(spec, WeightRole::kQuery, 0).init_std, 1 / std::sqrt(96.0));
  EXPECT_EQ(Weight(spec, WeightRole::kKvUp, 1).init_std, 1 / std::sqrt(32.0));
  EXPECT_EQ(Weight(spec, WeightRole::kOutput, 1).init_std, 0.5 / std::sqrt(128.0));
  EXPECT_EQ(Weight(spec, WeightRole::kDown, 0).init_std, 0.5 / std::sqrt(192.0));
  EXPECT_EQ(Weight(spec, WeightRole::kExpertDown, 1, 7).init_std, 0.5 / std::sqrt(48.0));
  EXPECT_EQ(Weight(spec, WeightRole::kRouterBias, 1).init_std, 0);
  EXPECT_TRUE(Weight(spec, WeightRole::kKvNorm, 2).is_norm());
}

TEST(PresetTest, MoeTinyIsSmallAndUnknownNamesAreRefused) {
  const ModelSpec tiny = *ParseModelSpec(*PresetConfigJson("moe_tiny", 32, 1, 2));
  EXPECT_LT(tiny.parameters(), 25000);
  EXPECT_EQ(tiny.layers.size(), 2u);
  EXPECT_EQ(MustParse(json::parse(*PresetConfigJson("moe_small", 32, 1, 2))).parameters(),
            36'985'344);
  EXPECT_EQ(MustParse(json::parse(*PresetConfigJson("qwen_tiny", 32, 1, 2))).parameters(), 76352);
  EXPECT_EQ(MustParse(json::parse(*PresetConfigJson("llama_tiny", 32, 1, 2))).parameters(), 78144);
  const absl::Status status = PresetConfigJson("moe_mimi", 32, 1, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("expected one of moe_mini, moe_tiny, moe_small, qwen_tiny, llama_tiny, "
                        "found \"moe_mimi\"; did you mean"));
}

TEST(DeepseekV3Test, WeightsComeInForwardOrderUnderTheirHuggingFaceNames) {
  json config = json::parse(*PresetConfigJson("moe_tiny", 40, 1, 2));
  config["q_lora_rank"] = 24;
  config["n_routed_experts"] = 2;
  const ModelSpec spec = MustParse(config);
  std::vector<std::string> listing;
  for (const WeightSpec& weight : spec.weights) {
    std::string line = weight.name;
    for (const int64_t size : weight.shape) absl::StrAppend(&line, " ", size);
    listing.push_back(line);
  }
  const auto attention = [](const std::string& layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    return std::vector<std::string>{prefix + "input_layernorm.weight 32",
                                    prefix + "self_attn.q_a_proj.weight 24 32",
                                    prefix + "self_attn.q_a_layernorm.weight 24",
                                    prefix + "self_attn.q_b_proj.weight 32 24",
                                    prefix + "self_attn.kv_a_proj_with_mqa.weight 24 32",
                                    prefix + "self_attn.kv_a_layernorm.weight 16",
                                    prefix + "self_attn.kv_b_proj.weight 48 16",
                                    prefix + "self_attn.o_proj.weight 32 32",
                                    prefix + "post_attention_layernorm.weight 32"};
  };
  const auto mlp = [](const std::string& prefix, const std::string& width) {
    return std::vector<std::string>{absl::StrCat(prefix, "gate_proj.weight ", width, " 32"),
                                    absl::StrCat(prefix, "up_proj.weight ", width, " 32"),
                                    prefix + "down_proj.weight 32 " + width};
  };
  std::vector<std::string> expected = {"model.embed_tokens.weight 40 32"};
  const auto add = [&expected](const std::vector<std::string>& lines) {
    expected.insert(expected.end(), lines.begin(), lines.end());
  };
  add(attention("0"));
  add(mlp("model.layers.0.mlp.", "48"));
  add(attention("1"));
  add({"model.layers.1.mlp.gate.weight 2 32", "model.layers.1.mlp.gate.e_score_correction_bias 2"});
  add(mlp("model.layers.1.mlp.experts.0.", "16"));
  add(mlp("model.layers.1.mlp.experts.1.", "16"));
  add(mlp("model.layers.1.mlp.shared_experts.", "16"));
  add({"model.norm.weight 32", "lm_head.weight 40 32"});
  EXPECT_EQ(listing, expected);
}

TEST(DeepseekV3Test, TheCorrectionBiasIsABuffer) {
  const ModelSpec spec = MustParse(MiniConfig());
  int64_t all = 0;
  for (const WeightSpec& weight : spec.weights) all += weight.elements();
  EXPECT_EQ(all - spec.parameters(), 2 * 8);
  EXPECT_FALSE(Weight(spec, WeightRole::kRouterBias, 1).trainable());
}

TEST(DeepseekV3Test, FindWeightAgreesWithASearchAndNamesWhatIsMissing) {
  ModelSpec spec = MustParse(MiniConfig());
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    const WeightSpec& weight = spec.weights[i];
    EXPECT_EQ(*spec.FindWeight(weight.role, weight.layer, weight.expert), static_cast<int>(i));
  }
  const absl::Status missing = spec.FindWeight(WeightRole::kExpertUp, 0, 3).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("expert_up of layer 0, expert 3"));
  spec.weight_index.clear();  // as in a spec put together by hand
  EXPECT_EQ(spec.weights[static_cast<size_t>(*spec.FindWeight(WeightRole::kHead))].name,
            "lm_head.weight");
  EXPECT_FALSE(spec.FindWeight(WeightRole::kQueryDown, 0).ok());
}

TEST(DeepseekV3Test, DuplicateWeightsAreRefused) {
  ModelSpec spec = MustParse(MiniConfig());
  spec.weights.push_back(spec.weights[0]);
  EXPECT_THAT(std::string(spec.IndexWeights().message()),
              HasSubstr("names two weights model.embed_tokens.weight"));
  spec.weights.back().name = "other";
  EXPECT_THAT(std::string(spec.IndexWeights().message()), HasSubstr("the second is other"));
}

TEST(DeepseekV3Test, BothConfigDialectsGiveTheSameSpec) {
  const json published = MiniConfig();
  json newer = published;
  newer.erase("rope_theta");
  newer.erase("rope_scaling");
  newer.erase("torch_dtype");
  newer["dtype"] = "float32";
  newer["rope_parameters"] = {{"rope_theta", 1000.0}, {"rope_type", "default"}};
  const ModelSpec a = MustParse(published);
  const ModelSpec b = MustParse(newer);
  EXPECT_EQ(a.layers[0].mla->rope, b.layers[0].mla->rope);
  EXPECT_EQ(b.layers[0].mla->rope, PlainRope(16, 1000, true));
  EXPECT_EQ(a.weights.size(), b.weights.size());
  EXPECT_EQ(b.hf_config_json, newer.dump());
}

TEST(DeepseekV3Test, DefaultsAreThoseOfTransformers) {
  json config = MiniConfig();
  for (const char* key : {"rope_theta", "rope_interleave", "tie_word_embeddings", "attention_bias",
                          "num_key_value_heads", "rms_norm_eps", "architectures"}) {
    config.erase(key);
  }
  const ModelSpec spec = MustParse(config);
  EXPECT_EQ(spec.layers[0].mla->rope, PlainRope(16, 10000, true));
  EXPECT_TRUE(spec.layers[0].mla->rope.interleaved);
  EXPECT_FALSE(spec.tie_embeddings);
}

TEST(DeepseekV3Test, TiedEmbeddingsHaveNoHead) {
  json config = MiniConfig();
  config["tie_word_embeddings"] = true;
  const ModelSpec spec = MustParse(config);
  EXPECT_TRUE(spec.tie_embeddings);
  EXPECT_FALSE(spec.FindWeight(WeightRole::kHead).ok());
  EXPECT_EQ(spec.parameters(), 418560 - 32 * 96);
}

TEST(DeepseekV3Test, TheRealModelHasItsPublishedSize) {
  json config = MiniConfig();
  config.update({{"vocab_size", 129280},
                 {"hidden_size", 7168},
                 {"num_hidden_layers", 61},
                 {"first_k_dense_replace", 3},
                 {"intermediate_size", 18432},
                 {"num_attention_heads", 128},
                 {"num_key_value_heads", 128},
                 {"q_lora_rank", 1536},
                 {"kv_lora_rank", 512},
                 {"qk_nope_head_dim", 128},
                 {"qk_rope_head_dim", 64},
                 {"v_head_dim", 128},
                 {"n_routed_experts", 256},
                 {"num_experts_per_tok", 8},
                 {"moe_intermediate_size", 2048},
                 {"n_group", 8},
                 {"topk_group", 4},
                 {"routed_scaling_factor", 2.5},
                 {"num_nextn_predict_layers", 1}});
  const ModelSpec spec = MustParse(config);
  EXPECT_EQ(spec.mtp_layers, 1);
  EXPECT_NEAR(static_cast<double>(spec.parameters()), 671e9, 0.1e9);          // 2412.19437: 671B
  EXPECT_NEAR(static_cast<double>(spec.active_parameters()), 37.5e9, 0.1e9);  // 37B
  EXPECT_EQ(spec.layers[3].moe->expert_groups_kept, 4);
}

// What asks for other mathematics is refused by name, never approximated.
TEST(DeepseekV3Test, UnsupportedFeaturesAreRefusedByName) {
  const struct {
    const char* key;
    json value;
    const char* message;
  } kCases[] = {
      {"rope_scaling",
       {{"type", "longrope"}, {"factor", 40}},
       "rope_scaling: type: expected \"default\", \"linear\", \"yarn\" or \"llama3\""},
      {"rope_scaling", {{"rope_type", "dynamic"}}, "rope_scaling: rope_type: expected \"default\""},
      {"rope_scaling",
       {{"rope_type", "yarn"}, {"type", "linear"}},
       "type: expected the value of rope_type, \"yarn\", found \"linear\""},
      {"rope_scaling",
       {{"type", "yarn"}, {"factor", 4}, {"mrope_section", {1}}},
       "rope_scaling: mrope_section: expected no such key"},
      {"rope_scaling",
       {{"type", "default"}, {"partial_rotary_factor", 0.5}},
       "rope_scaling: partial_rotary_factor: expected 1"},
      {"rope_scaling", {{"type", "yarn"}}, "factor: expected a number above 0, found no such key"},
      {"rope_scaling", {{"type", "linear"}, {"factor", 1e9}}, "factor: expected a number in 1e-06"},
      {"rope_scaling",
       {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 1}},
       "high_freq_factor: expected more than low_freq_factor, found 1"},
      {"rope_theta", 0.5, "rope_theta: expected a number in 1..1e+30, found 0.5"},
      {"rope_parameters",
       {{"rope_theta", 7.0}},
       "rope_theta: expected the rope_theta outside of it"},
      {"rope_parameters", 3, "rope_parameters: expected an object or null, found 3"},
      {"quantization_config", {{"quant_method", "awq"}}, "quant_method"},
      {"scoring_func", "softmax", "scoring_func: expected \"sigmoid\""},
      {"topk_method", "greedy", "topk_method: expected \"noaux_tc\""},
      {"hidden_act", "gelu", "hidden_act: expected \"silu\""},
      {"index_topk", 2048, "index_topk: expected no such key"},
      {"logit_scale", 2.0, "logit_scale: expected no such key or 1"},
      {"num_local_experts", 4, "num_local_experts: expected the value of n_routed_experts, 8"},
      {"num_key_value_heads", 2, "num_key_value_heads: expected num_attention_heads, 4, found 2"},
      {"eos_token_id", "x", "eos_token_id: expected a token id or a list"},
      {"eos_token_id", {1, 2.5}, "eos_token_id: expected a token id or a list"},
      {"architectures", {"LlamaForCausalLM", "x"}, "architectures: expected [\"DeepseekV3"},
  };
  for (const auto& c : kCases) {
    json config = MiniConfig();
    config[c.key] = c.value;
    const absl::Status status = ParseModelSpec(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(DeepseekV3Test, WrongValuesNameKeyExpectationAndFinding) {
  const struct {
    const char* key;
    json value;
    const char* message;
  } kCases[] = {
      {"hidden_size", "96", "hidden_size: expected an integer in 1..131072, found \"96\""},
      {"hidden_size", 96.5, "hidden_size: expected an integer in 1..131072, found 96.5"},
      {"hidden_size", 0, "found 0"},
      {"hidden_size", -1, "found -1"},
      {"hidden_size", 18446744073709551615u, "found 18446744073709551615"},
      {"hidden_size", nullptr, "hidden_size: expected an integer in 1..131072, found null"},
      {"num_hidden_layers", 1000000, "num_hidden_layers: expected an integer in 1..4096"},
      {"first_k_dense_replace", 4, "first_k_dense_replace: expected an integer in 0..3, found 4"},
      {"num_experts_per_tok", 9, "num_experts_per_tok: expected an integer in 1..8, found 9"},
      {"n_group", 3, "n_group: expected a number of groups of at least 2 experts that divides"},
      {"n_group", 8, "n_group: expected a number of groups"},
      {"topk_group", 2, "topk_group: expected an integer in 1..1, found 2"},
      {"qk_rope_head_dim", 15, "qk_rope_head_dim: expected an even number, found 15"},
      {"rms_norm_eps", 0, "rms_norm_eps: expected a number above 0, found 0"},
      {"rope_theta", "big", "rope_theta: expected a number above 0, found \"big\""},
      {"norm_topk_prob", 1, "norm_topk_prob: expected true or false, found 1"},
      {"n_routed_experts", 65535, "n_group: expected"},
      {"vocab_size", json::array({1}),
       "vocab_size: expected an integer in 1..16777216, found an array"},
      {"model_type", "deepseek_v4",
       "model_type: expected one of deepseek_v2, deepseek_v3, llama, qwen2, qwen3, qwen3_moe, "
       "found "
       "\"deepseek_v4\""},
      {"model_type", 3, "model_type: expected a string, found 3"},
  };
  for (const auto& c : kCases) {
    json config = MiniConfig();
    config[c.key] = c.value;
    if (std::string(c.key) == "n_routed_experts") config["n_group"] = 4;
    const absl::Status status = ParseModelSpec(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(DeepseekV3Test, EveryRequiredKeyIsMissedByName) {
  for (const char* key : {"model_type",
                          "hidden_size",
                          "vocab_size",
                          "num_hidden_layers",
                          "first_k_dense_replace",
                          "intermediate_size",
                          "num_attention_heads",
                          "q_lora_rank",
                          "kv_lora_rank",
                          "qk_nope_head_dim",
                          "qk_rope_head_dim",
                          "v_head_dim",
                          "n_routed_experts",
                          "num_experts_per_tok",
                          "n_shared_experts",
                          "moe_intermediate_size",
                          "n_group",
                          "topk_group",
                          "norm_topk_prob",
                          "routed_scaling_factor",
                          "max_position_embeddings"}) {
    json config = MiniConfig();
    config.erase(key);
    const absl::Status status = ParseModelSpec(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(key, ": expected")));
    EXPECT_THAT(std::string(status.message()), HasSubstr("found no such key"));
  }
}

TEST(DeepseekV3Test, WeightListsAreBounded) {
  json config = MiniConfig();
  config["num_hidden_layers"] = 4096;
  config["n_routed_experts"] = 65535;
  EXPECT_THAT(std::string(ParseModelSpec(config.dump()).status().message()),
              HasSubstr("n_routed_experts: expected at most 1048576 weights in all layers"));
}

TEST(ParseModelSpecTest, TextThatIsNoConfigIsRefused) {
  EXPECT_THAT(std::string(ParseModelSpec("[]").status().message()),
              HasSubstr("config.json: expected an object, found an array of 0 elements"));
  EXPECT_THAT(std::string(ParseModelSpec("{").status().message()),
              HasSubstr("config.json: parse error at line 1"));
  EXPECT_THAT(std::string(ParseModelSpec("{\"a\":1,\"a\":2}").status().message()),
              HasSubstr("key \"a\" occurs twice"));
}

}  // namespace
}  // namespace r1
