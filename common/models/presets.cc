// Built-in architectures, as the config.json that a Hugging Face folder of them would hold. They
// are small members of real families, so that a run without any download still goes through the
// code of a real one.

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/models/model_spec.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::ordered_json;

struct Sizes {
  int hidden;
  int layers;
  int dense_intermediate;
  int heads;
  int kv_lora_rank;
  int qk_nope_head_dim;
  int qk_rope_head_dim;
  int v_head_dim;
  int experts;
  int expert_intermediate;
};

// 418,560 parameters with the 32 characters of the built-in tasks, 252,672 of them active.
constexpr Sizes kMini = {.hidden = 96,
                         .layers = 3,
                         .dense_intermediate = 192,
                         .heads = 4,
                         .kv_lora_rank = 32,
                         .qk_nope_head_dim = 16,
                         .qk_rope_head_dim = 16,
                         .v_head_dim = 32,
                         .experts = 8,
                         .expert_intermediate = 48};

// For tests: every operator of moe_mini at a fraction of its cost.
constexpr Sizes kTiny = {.hidden = 32,
                         .layers = 2,
                         .dense_intermediate = 48,
                         .heads = 2,
                         .kv_lora_rank = 16,
                         .qk_nope_head_dim = 8,
                         .qk_rope_head_dim = 8,
                         .v_head_dim = 16,
                         .experts = 4,
                         .expert_intermediate = 16};

// For one GPU: the smallest sizes that the CUDA engine's kernels take (latent attention of 512 + 64
// channels, experts in multiples of 32). 36,985,344 parameters with 32 characters.
constexpr Sizes kSmall = {.hidden = 512,
                          .layers = 4,
                          .dense_intermediate = 1024,
                          .heads = 16,
                          .kv_lora_rank = 512,
                          .qk_nope_head_dim = 64,
                          .qk_rope_head_dim = 64,
                          .v_head_dim = 128,
                          .experts = 32,
                          .expert_intermediate = 128};

ordered_json DeepseekV3(const Sizes& sizes) {
  return {
      {"architectures", ordered_json::array({"DeepseekV3ForCausalLM"})},
      {"model_type", "deepseek_v3"},
      {"torch_dtype", "float32"},
      {"vocab_size", 0},
      {"bos_token_id", 0},
      {"eos_token_id", 0},
      {"hidden_size", sizes.hidden},
      {"num_hidden_layers", sizes.layers},
      {"first_k_dense_replace", 1},
      {"intermediate_size", sizes.dense_intermediate},
      {"num_attention_heads", sizes.heads},
      {"num_key_value_heads", sizes.heads},
      {"q_lora_rank", nullptr},
      {"kv_lora_rank", sizes.kv_lora_rank},
      {"qk_nope_head_dim", sizes.qk_nope_head_dim},
      {"qk_rope_head_dim", sizes.qk_rope_head_dim},
      {"v_head_dim", sizes.v_head_dim},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"rope_theta", 1000.0},
      {"rope_scaling", nullptr},
      {"rope_interleave", true},
      {"max_position_embeddings", 4096},
      {"n_routed_experts", sizes.experts},
      {"num_experts_per_tok", 2},
      {"n_shared_experts", 1},
      {"moe_intermediate_size", sizes.expert_intermediate},
      {"n_group", 1},
      {"topk_group", 1},
      {"topk_method", "noaux_tc"},
      {"scoring_func", "sigmoid"},
      {"norm_topk_prob", true},
      {"routed_scaling_factor", 1.0},
      {"num_nextn_predict_layers", 0},
      {"hidden_act", "silu"},
      {"rms_norm_eps", 1e-6},
      {"tie_word_embeddings", false},
      {"use_cache", true},
  };
}

// 76,352 parameters with 32 characters (Qwen2.5's shape: biases on q, k and v, tied embeddings) or
// 78,144 (Llama's), for students of a distillation and for tests.
ordered_json Dense(const char* architecture, const char* model_type, bool tied) {
  return {
      {"architectures", ordered_json::array({architecture})},
      {"model_type", model_type},
      {"torch_dtype", "float32"},
      {"vocab_size", 0},
      {"bos_token_id", 0},
      {"eos_token_id", 0},
      {"hidden_size", 64},
      {"num_hidden_layers", 2},
      {"intermediate_size", 128},
      {"num_attention_heads", 4},
      {"num_key_value_heads", 2},
      {"rope_theta", 1000.0},
      {"rope_scaling", nullptr},
      {"max_position_embeddings", 4096},
      {"hidden_act", "silu"},
      {"rms_norm_eps", 1e-6},
      {"tie_word_embeddings", tied},
      {"use_cache", true},
  };
}

// The vocabulary of a config is filled in later.
struct Preset {
  const char* name;
  ordered_json (*config)();
};
constexpr Preset kPresets[] = {
    {"moe_mini", [] { return DeepseekV3(kMini); }},
    {"moe_tiny", [] { return DeepseekV3(kTiny); }},
    {"moe_small", [] { return DeepseekV3(kSmall); }},
    {"qwen_tiny", [] { return Dense("Qwen2ForCausalLM", "qwen2", true); }},
    {"llama_tiny", [] { return Dense("LlamaForCausalLM", "llama", false); }},
};

}  // namespace

absl::StatusOr<std::string> PresetConfigJson(const std::string& preset, int vocab, int bos_id,
                                             int eos_id) {
  std::vector<std::string> known;
  for (const Preset& one : kPresets) {
    known.push_back(one.name);
    if (preset != one.name) continue;
    ordered_json config = one.config();
    config["vocab_size"] = vocab;
    config["bos_token_id"] = bos_id;
    config["eos_token_id"] = eos_id;
    return absl::StrCat(config.dump(2), "\n");
  }
  return absl::NotFoundError(absl::StrCat("preset: expected one of ", absl::StrJoin(known, ", "),
                                          ", found ", Quoted(preset), DidYouMean(preset, known)));
}

}  // namespace r1
