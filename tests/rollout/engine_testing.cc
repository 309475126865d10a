#include "tests/rollout/engine_testing.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "common/rng.h"
#include "gtest/gtest.h"

namespace r1::rollout {
namespace {

double Normal(Rng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.NextUniform()));
  return radius * std::cos(2 * std::numbers::pi * rng.NextUniform());
}

struct Sizes {
  int hidden, layers, dense_layers, dense_width, heads, q_rank, kv_rank, nope, rope, value;
  int experts, active, shared, expert_width, groups, kept;
  bool normalize, interleave, tie;
  double scaling;
};

ModelSpec MakeSpec(const Sizes& s) {
  const auto boolean = [](bool value) { return value ? "true" : "false"; };
  std::string json = absl::Substitute(
      R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
          "vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2, "hidden_size": $0,
          "num_hidden_layers": $1, "first_k_dense_replace": $2, "intermediate_size": $3,
          "num_attention_heads": $4, "num_key_value_heads": $4, "q_lora_rank": $5,
          "kv_lora_rank": $6, "qk_nope_head_dim": $7, "qk_rope_head_dim": $8, "v_head_dim": $9,)",
      s.hidden, s.layers, s.dense_layers, s.dense_width, s.heads,
      s.q_rank > 0 ? absl::StrCat(s.q_rank) : "null", s.kv_rank, s.nope, s.rope, s.value);
  absl::SubstituteAndAppend(
      &json,
      R"("n_routed_experts": $0, "num_experts_per_tok": $1, "n_shared_experts": $2,
         "moe_intermediate_size": $3, "n_group": $4, "topk_group": $5, "norm_topk_prob": $6,
         "rope_interleave": $7, "tie_word_embeddings": $8, "routed_scaling_factor": $9,)",
      s.experts, s.active, s.shared, s.expert_width, s.groups, s.kept, boolean(s.normalize),
      boolean(s.interleave), boolean(s.tie), s.scaling);
  absl::StrAppend(&json,
                  R"("rope_theta": 1000.0, "rope_scaling": null, "max_position_embeddings": 600,
         "topk_method": "noaux_tc", "scoring_func": "sigmoid", "hidden_act": "silu",
         "attention_bias": false, "rms_norm_eps": 1e-6})");
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(json);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *std::move(spec);
}

}  // namespace

ModelSpec RandomSpec(uint64_t seed) {
  Rng rng(seed, 0, RngPurpose::kTest, 1, 0);
  const auto pick = [&](std::initializer_list<int> choices) {
    return choices.begin()[rng.NextBelow(choices.size())];
  };
  Sizes s;
  s.hidden = pick({20, 32, 48});
  s.layers = pick({1, 2, 3});
  s.dense_layers = static_cast<int>(rng.NextBelow(s.layers + 1));
  s.dense_width = pick({24, 50, 64});
  s.heads = pick({1, 2, 3, 4, 6});
  s.q_rank = pick({0, 12});
  s.kv_rank = pick({7, 12, 32});
  s.nope = pick({4, 8, 10});
  s.rope = pick({2, 8, 16});
  s.value = pick({4, 16, 20});
  s.groups = pick({1, 2, 4});
  s.experts = s.groups * pick({2, 4});
  s.kept = 1 + static_cast<int>(rng.NextBelow(s.groups));
  s.active = 1 + static_cast<int>(rng.NextBelow(s.experts / s.groups * s.kept));
  s.shared = pick({0, 1, 2});
  s.expert_width = pick({8, 20});
  s.normalize = pick({0, 1}) == 1;
  s.interleave = pick({0, 1}) == 1;
  s.tie = pick({0, 1}) == 1;
  s.scaling = pick({1, 2}) * 1.25;
  return MakeSpec(s);
}

ModelSpec RandomFamilySpec(const std::string& family, uint64_t seed) {
  Rng rng(seed, 0, RngPurpose::kTest, 4, 0);
  const auto pick = [&](std::initializer_list<int> choices) {
    return choices.begin()[rng.NextBelow(choices.size())];
  };
  const int kv_heads = pick({1, 2, 3});
  const int heads = kv_heads * pick({1, 2, 5});
  nlohmann::json config = {{"model_type", family},
                           {"vocab_size", 32},
                           {"bos_token_id", 1},
                           {"eos_token_id", 2},
                           {"hidden_size", pick({20, 32, 48})},
                           {"num_hidden_layers", pick({1, 2, 3})},
                           {"intermediate_size", pick({24, 50})},
                           {"num_attention_heads", heads},
                           {"num_key_value_heads", kv_heads},
                           {"head_dim", pick({4, 10, 16, 20})},
                           {"hidden_act", "silu"},
                           {"max_position_embeddings", 600},
                           {"rms_norm_eps", 1e-6},
                           {"rope_theta", 1000.0},
                           {"tie_word_embeddings", pick({0, 1}) == 1}};
  if (family != "qwen2") config["attention_bias"] = pick({0, 1}) == 1;
  if (family == "llama") {
    config["mlp_bias"] = pick({0, 1}) == 1;
    if (pick({0, 1}) == 1) {
      config["rope_scaling"] = {{"rope_type", "llama3"},
                                {"factor", 8.0},
                                {"low_freq_factor", 1.0},
                                {"high_freq_factor", 4.0},
                                {"original_max_position_embeddings", 64}};
    }
  }
  const int groups = pick({1, 2, 4});
  const int experts = groups * pick({2, 4});
  if (family == "qwen3_moe") {
    config.update({{"num_experts", experts},
                   {"num_experts_per_tok", pick({1, 2})},
                   {"moe_intermediate_size", pick({8, 20})},
                   {"norm_topk_prob", pick({0, 1}) == 1},
                   {"decoder_sparse_step", pick({1, 2})}});
  }
  if (family == "deepseek_v2") {
    config.erase("head_dim");
    config.update({{"num_key_value_heads", heads},
                   {"q_lora_rank", pick({0, 1}) == 1 ? nlohmann::json(12) : nlohmann::json()},
                   {"kv_lora_rank", pick({7, 32})},
                   {"qk_nope_head_dim", pick({4, 10})},
                   {"qk_rope_head_dim", pick({2, 8})},
                   {"v_head_dim", pick({4, 20})},
                   {"first_k_dense_replace", pick({0, 1})},
                   {"n_routed_experts", experts},
                   {"num_experts_per_tok", pick({1, 2})},
                   {"n_shared_experts", pick({0, 2})},
                   {"moe_intermediate_size", pick({8, 20})},
                   {"topk_method", groups == 1 ? "greedy" : "group_limited_greedy"},
                   {"n_group", groups},
                   {"topk_group", 1 + pick({0, groups - 1})},
                   {"routed_scaling_factor", pick({1, 2}) * 1.25}});
    if (pick({0, 1}) == 1) {
      config["rope_scaling"] = {{"type", "yarn"},
                                {"factor", 4.0},
                                {"beta_fast", 32},
                                {"beta_slow", 1},
                                {"mscale", 0.7},
                                {"mscale_all_dim", 0.9},
                                {"original_max_position_embeddings", 128}};
    }
  }
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(config.dump());
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *std::move(spec);
}

ModelSpec SmallSpec() {
  return MakeSpec({.hidden = 32,
                   .layers = 2,
                   .dense_layers = 1,
                   .dense_width = 40,
                   .heads = 3,
                   .q_rank = 0,
                   .kv_rank = 16,
                   .nope = 8,
                   .rope = 8,
                   .value = 16,
                   .experts = 8,
                   .active = 2,
                   .shared = 1,
                   .expert_width = 16,
                   .groups = 2,
                   .kept = 1,
                   .normalize = true,
                   .interleave = true,
                   .tie = false,
                   .scaling = 1.0});
}

WeightsSnapshot RandomWeights(const ModelSpec& spec, uint64_t seed, uint64_t policy_version) {
  Rng rng(seed, 0, RngPurpose::kTest, 2, 0);
  int64_t total = 0;
  for (const WeightSpec& weight : spec.weights) total += weight.elements();
  auto values = std::make_shared<std::vector<float>>(total);
  WeightsSnapshot weights{.policy_version = policy_version, .tensors = {}, .storage = values};
  float* next = values->data();
  for (const WeightSpec& weight : spec.weights) {
    float* const first = next;
    for (int64_t i = 0; i < weight.elements(); ++i) {
      const double normal = Normal(rng);
      const bool is_bias = weight.init_std == 0;
      *next++ = static_cast<float>(weight.is_norm() ? 1 + 0.1 * normal
                                   : is_bias        ? 0.1 * normal
                                                    : weight.init_std * normal);
    }
    weights.tensors.push_back({.name = weight.name,
                               .dtype = DType::kF32,
                               .shape = weight.shape,
                               .bytes = absl::string_view(reinterpret_cast<const char*>(first),
                                                          weight.elements() * sizeof(float))});
  }
  return weights;
}

GroupRequest RandomRequest(const ModelSpec& spec, uint64_t group_id, int prompt_tokens, int samples,
                           uint32_t response_tokens_max) {
  Rng rng(7, 0, RngPurpose::kTest, 3, static_cast<uint32_t>(group_id));
  GroupRequest request;
  request.request_id = group_id;
  request.group_id = group_id;
  request.run_seed = 11;
  request.stage_index = 2;
  request.response_tokens_max = response_tokens_max;
  for (int i = 0; i < prompt_tokens; ++i)
    request.prompt_ids.push_back(static_cast<int32_t>(rng.NextBelow(spec.vocab)));
  for (int i = 0; i < samples; ++i) request.sample_indices.push_back(i);
  return request;
}

std::unique_ptr<Engine> MakeEngine(const ModelSpec& spec, const WeightsSnapshot& weights,
                                   const EngineOptions& options) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(spec, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  const absl::Status loaded = (*engine)->LoadWeights(weights);
  EXPECT_TRUE(loaded.ok()) << loaded;
  return *std::move(engine);
}

Results RunAll(Engine& engine, const std::vector<GroupRequest>& requests) {
  for (const GroupRequest& request : requests) {
    const absl::Status submitted = engine.Submit(request);
    EXPECT_TRUE(submitted.ok()) << submitted;
  }
  Results results;
  while (!engine.idle()) {
    absl::StatusOr<std::vector<GeneratedSample>> finished = engine.Step();
    EXPECT_TRUE(finished.ok()) << finished.status();
    if (!finished.ok()) break;
    for (GeneratedSample& sample : *finished) {
      const SampleKey key = {sample.request_id, sample.sample_index};
      EXPECT_TRUE(results.emplace(key, std::move(sample)).second) << "request " << key.first;
    }
  }
  return results;
}

bool SameSample(const GeneratedSample& a, const GeneratedSample& b) {
  return a.token_ids == b.token_ids && a.stopped == b.stopped &&
         a.logprobs.size() == b.logprobs.size() &&
         std::memcmp(a.logprobs.data(), b.logprobs.data(), a.logprobs.size() * sizeof(float)) == 0;
}

bool SameResults(const Results& a, const Results& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, sample] : a) {
    const auto other = b.find(key);
    if (other == b.end() || !SameSample(sample, other->second)) return false;
  }
  return true;
}

}  // namespace r1::rollout
