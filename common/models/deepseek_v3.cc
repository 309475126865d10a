// DeepSeek-V3 (2412.19437): config.json in both dialects of transformers (rope_theta +
// rope_scaling, or rope_parameters) -> ModelSpec, and the names of the weights in a checkpoint.
// What it does not do yet (YaRN, FP8 weights, biases) is refused by the name of its key, never
// approximated.
//
// Initial weights, for presets only: normal with std 1/sqrt(fan_in), projections into the residual
// stream at half of that, embeddings at 1.

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/models/model_spec.h"

namespace r1 {
namespace {

// Bounds that keep every product of two sizes, and the sum over all weights, inside int64.
constexpr JsonFields::Range kWidth = {1, 1 << 17};
constexpr JsonFields::Range kMlpWidth = {1, 1 << 20};
constexpr JsonFields::Range kHeadDim = {1, 1 << 14};
constexpr JsonFields::Range kHeads = {1, 1 << 12};
constexpr JsonFields::Range kLayers = {1, 1 << 12};
constexpr JsonFields::Range kExperts = {1, (1 << 16) - 1};
constexpr int64_t kWeightsMax = 1 << 20;

// Reads one integer into an int field.
absl::Status ReadInto(int& field, const JsonFields& config, const std::string& key,
                      JsonFields::Range range, std::optional<int64_t> missing = std::nullopt) {
  R1_ASSIGN_OR_RETURN(const int64_t value, config.Integer(key, range, missing));
  field = static_cast<int>(value);
  return absl::OkStatus();
}

// InvalidArgument unless the key is absent or has the one supported value.
absl::Status Expect(const JsonFields& config, const std::string& key,
                    const nlohmann::json& supported) {
  const nlohmann::json* value = config.FindOrNull(key);
  if (value == nullptr || *value == supported) return absl::OkStatus();
  return config.Error(key, absl::StrCat(DescribeJson(supported), " (others are not supported)"));
}

absl::Status RefuseUnsupported(const JsonFields& config) {
  if (config.FindOrNull("quantization_config") != nullptr) {
    return config.Error("quantization_config", "no such key (quantized weights are not supported)");
  }
  const nlohmann::json* architectures = config.FindOrNull("architectures");
  if (architectures != nullptr &&
      *architectures != nlohmann::json::array({"DeepseekV3ForCausalLM"})) {
    return config.Error("architectures", "[\"DeepseekV3ForCausalLM\"]");
  }
  R1_RETURN_IF_ERROR(Expect(config, "attention_bias", false));
  R1_RETURN_IF_ERROR(Expect(config, "hidden_act", "silu"));
  R1_RETURN_IF_ERROR(Expect(config, "scoring_func", "sigmoid"));
  R1_RETURN_IF_ERROR(Expect(config, "topk_method", "noaux_tc"));
  return Expect(config, "moe_layer_freq", 1);
}

// "type" in published configs, "rope_type" in newer ones; some say both.
absl::Status ExpectPlainRope(const nlohmann::json& rope, const std::string& key) {
  if (!rope.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "config.json: ", key, ": expected an object or null, found ", DescribeJson(rope)));
  }
  const JsonFields fields(rope, absl::StrCat("config.json: ", key));
  R1_RETURN_IF_ERROR(Expect(fields, "rope_type", "default"));
  return Expect(fields, "type", "default");
}

absl::StatusOr<RopeSpec> ReadRope(const JsonFields& config, int dim) {
  if (dim % 2 != 0) return config.Error("qk_rope_head_dim", "an even number");
  R1_ASSIGN_OR_RETURN(const bool interleaved, config.Bool("rope_interleave", true));
  R1_ASSIGN_OR_RETURN(const double theta, config.PositiveNumber("rope_theta", 10000));
  if (const nlohmann::json* scaling = config.FindOrNull("rope_scaling")) {
    R1_RETURN_IF_ERROR(ExpectPlainRope(*scaling, "rope_scaling"));
  }
  const nlohmann::json* parameters = config.FindOrNull("rope_parameters");
  if (parameters == nullptr) return PlainRope(dim, theta, interleaved);
  R1_RETURN_IF_ERROR(ExpectPlainRope(*parameters, "rope_parameters"));
  const JsonFields fields(*parameters, "config.json: rope_parameters");
  R1_ASSIGN_OR_RETURN(const double inner_theta, fields.PositiveNumber("rope_theta", theta));
  if (config.FindOrNull("rope_theta") != nullptr && inner_theta != theta) {
    return fields.Error("rope_theta", absl::StrCat("the rope_theta outside of it, ", theta));
  }
  return PlainRope(dim, inner_theta, interleaved);
}

absl::StatusOr<MlaSpec> ReadAttention(const JsonFields& config) {
  MlaSpec attention;
  R1_RETURN_IF_ERROR(ReadInto(attention.heads, config, "num_attention_heads", kHeads));
  int kv_heads = 0;
  R1_RETURN_IF_ERROR(ReadInto(kv_heads, config, "num_key_value_heads", kHeads, attention.heads));
  if (kv_heads != attention.heads) {
    return config.Error("num_key_value_heads",
                        absl::StrCat("num_attention_heads, ", attention.heads));
  }
  // null means no query compression; a config without the key would mean transformers' default,
  // 1536.
  if (!config.Has("q_lora_rank")) return config.Error("q_lora_rank", "an integer or null");
  R1_RETURN_IF_ERROR(ReadInto(attention.q_lora_rank, config, "q_lora_rank", kWidth, 0));
  R1_RETURN_IF_ERROR(ReadInto(attention.kv_lora_rank, config, "kv_lora_rank", kWidth));
  R1_RETURN_IF_ERROR(ReadInto(attention.qk_nope_head_dim, config, "qk_nope_head_dim", kHeadDim));
  R1_RETURN_IF_ERROR(ReadInto(attention.qk_rope_head_dim, config, "qk_rope_head_dim", kHeadDim));
  R1_RETURN_IF_ERROR(ReadInto(attention.v_head_dim, config, "v_head_dim", kHeadDim));
  attention.softmax_scale =
      1 / std::sqrt(static_cast<double>(attention.qk_nope_head_dim + attention.qk_rope_head_dim));
  R1_ASSIGN_OR_RETURN(attention.rope, ReadRope(config, attention.qk_rope_head_dim));
  return attention;
}

absl::StatusOr<MoeSpec> ReadMoe(const JsonFields& config) {
  MoeSpec moe;
  int shared = 0;
  R1_RETURN_IF_ERROR(ReadInto(moe.experts, config, "n_routed_experts", kExperts));
  R1_RETURN_IF_ERROR(ReadInto(moe.intermediate, config, "moe_intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadInto(shared, config, "n_shared_experts", {0, 64}));
  moe.shared_intermediate = shared * moe.intermediate;
  R1_RETURN_IF_ERROR(ReadInto(moe.expert_groups, config, "n_group", {1, moe.experts}));
  const int group_size = moe.experts / moe.expert_groups;
  // A group's score is the sum of its two best experts.
  if (moe.experts % moe.expert_groups != 0 || (moe.expert_groups > 1 && group_size < 2)) {
    return config.Error("n_group", absl::StrCat("a number of groups of at least 2 experts that "
                                                "divides n_routed_experts, ",
                                                moe.experts));
  }
  R1_RETURN_IF_ERROR(
      ReadInto(moe.expert_groups_kept, config, "topk_group", {1, moe.expert_groups}));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts_per_token, config, "num_experts_per_tok",
                              {1, moe.expert_groups_kept * group_size}));
  R1_ASSIGN_OR_RETURN(moe.normalize_weights, config.Bool("norm_topk_prob"));
  R1_ASSIGN_OR_RETURN(moe.routed_scaling_factor, config.PositiveNumber("routed_scaling_factor"));
  return moe;
}

// Appends weights with their names and shapes, in the order of a forward pass.
class WeightLister {
 public:
  explicit WeightLister(ModelSpec& spec) : spec_(spec) {}

  void List() {
    Add({.name = "model.embed_tokens.weight",
         .shape = {spec_.vocab, spec_.hidden},
         .role = WeightRole::kEmbedding,
         .init_std = 1});
    for (size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      layer_ = static_cast<int>(layer);
      prefix_ = absl::StrCat("model.layers.", layer, ".");
      ListAttention(*spec_.layers[layer].mla);
      Vector("post_attention_layernorm.weight", WeightRole::kMlpNorm, spec_.hidden);
      if (spec_.layers[layer].dense.has_value()) {
        ListMlp("mlp.", {WeightRole::kGate, WeightRole::kUp, WeightRole::kDown},
                spec_.layers[layer].dense->intermediate);
      } else {
        ListMoe(*spec_.layers[layer].moe);
      }
    }
    layer_ = -1;
    prefix_.clear();
    Vector("model.norm.weight", WeightRole::kFinalNorm, spec_.hidden);
    if (!spec_.tie_embeddings) {
      Matrix("lm_head.weight", WeightRole::kHead, spec_.vocab, spec_.hidden);
    }
  }

 private:
  struct MlpRoles {
    WeightRole gate;
    WeightRole up;
    WeightRole down;
  };

  void ListAttention(const MlaSpec& a) {
    const int64_t query = int64_t{a.heads} * (a.qk_nope_head_dim + a.qk_rope_head_dim);
    Vector("input_layernorm.weight", WeightRole::kAttentionNorm, spec_.hidden);
    if (a.q_lora_rank == 0) {
      Matrix("self_attn.q_proj.weight", WeightRole::kQuery, query, spec_.hidden);
    } else {
      Matrix("self_attn.q_a_proj.weight", WeightRole::kQueryDown, a.q_lora_rank, spec_.hidden);
      Vector("self_attn.q_a_layernorm.weight", WeightRole::kQueryNorm, a.q_lora_rank);
      Matrix("self_attn.q_b_proj.weight", WeightRole::kQuery, query, a.q_lora_rank);
    }
    Matrix("self_attn.kv_a_proj_with_mqa.weight", WeightRole::kKvDown,
           a.kv_lora_rank + a.qk_rope_head_dim, spec_.hidden);
    Vector("self_attn.kv_a_layernorm.weight", WeightRole::kKvNorm, a.kv_lora_rank);
    Matrix("self_attn.kv_b_proj.weight", WeightRole::kKvUp,
           int64_t{a.heads} * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank);
    Matrix("self_attn.o_proj.weight", WeightRole::kOutput, spec_.hidden,
           int64_t{a.heads} * a.v_head_dim, kResidualScale);
  }

  void ListMoe(const MoeSpec& moe) {
    Matrix("mlp.gate.weight", WeightRole::kRouter, moe.experts, spec_.hidden);
    Vector("mlp.gate.e_score_correction_bias", WeightRole::kRouterBias, moe.experts);
    for (expert_ = 0; expert_ < moe.experts; ++expert_) {
      ListMlp(absl::StrCat("mlp.experts.", expert_, "."),
              {WeightRole::kExpertGate, WeightRole::kExpertUp, WeightRole::kExpertDown},
              moe.intermediate);
    }
    expert_ = -1;
    if (moe.shared_intermediate == 0) return;
    ListMlp("mlp.shared_experts.",
            {WeightRole::kSharedGate, WeightRole::kSharedUp, WeightRole::kSharedDown},
            moe.shared_intermediate);
  }

  void ListMlp(const std::string& part, MlpRoles roles, int64_t intermediate) {
    Matrix(part + "gate_proj.weight", roles.gate, intermediate, spec_.hidden);
    Matrix(part + "up_proj.weight", roles.up, intermediate, spec_.hidden);
    Matrix(part + "down_proj.weight", roles.down, spec_.hidden, intermediate, kResidualScale);
  }

  void Matrix(const std::string& name, WeightRole role, int64_t out, int64_t in, double scale = 1) {
    Add({.name = prefix_ + name,
         .shape = {out, in},
         .role = role,
         .init_std = scale / std::sqrt(static_cast<double>(in))});
  }

  void Vector(const std::string& name, WeightRole role, int64_t size) {
    Add({.name = prefix_ + name, .shape = {size}, .role = role});
  }

  void Add(WeightSpec weight) {
    weight.layer = layer_;
    weight.expert = expert_;
    spec_.weights.push_back(std::move(weight));
  }

  static constexpr double kResidualScale = 0.5;

  ModelSpec& spec_;
  std::string prefix_;
  int layer_ = -1;
  int expert_ = -1;
};

absl::StatusOr<ModelSpec> ParseDeepseekV3(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseUnsupported(config));

  ModelSpec spec;
  spec.family = "deepseek_v3";
  spec.hf_config_json = hf_config_json;
  int layers = 0, dense_layers = 0, dense_intermediate = 0;
  R1_RETURN_IF_ERROR(ReadInto(spec.hidden, config, "hidden_size", kWidth));
  R1_RETURN_IF_ERROR(ReadInto(spec.vocab, config, "vocab_size", {1, 1 << 24}));
  R1_RETURN_IF_ERROR(ReadInto(spec.positions_max, config, "max_position_embeddings", {1, 1 << 30}));
  R1_RETURN_IF_ERROR(ReadInto(spec.mtp_layers, config, "num_nextn_predict_layers", {0, 64}, 0));
  R1_RETURN_IF_ERROR(ReadInto(layers, config, "num_hidden_layers", kLayers));
  R1_RETURN_IF_ERROR(ReadInto(dense_layers, config, "first_k_dense_replace", {0, layers}));
  R1_RETURN_IF_ERROR(ReadInto(dense_intermediate, config, "intermediate_size", kMlpWidth));
  R1_ASSIGN_OR_RETURN(spec.rms_norm_eps, config.PositiveNumber("rms_norm_eps", 1e-6));
  R1_ASSIGN_OR_RETURN(spec.tie_embeddings, config.Bool("tie_word_embeddings", false));
  R1_ASSIGN_OR_RETURN(const MlaSpec attention, ReadAttention(config));
  R1_ASSIGN_OR_RETURN(const MoeSpec moe, ReadMoe(config));
  if (int64_t{layers} * (3 * int64_t{moe.experts} + 16) > kWeightsMax) {
    return config.Error("n_routed_experts",
                        absl::StrCat("at most ", kWeightsMax, " weights in all layers together"));
  }

  for (int layer = 0; layer < layers; ++layer) {
    LayerSpec& added = spec.layers.emplace_back();
    added.mla = attention;
    if (layer < dense_layers) {
      added.dense = DenseMlpSpec{.intermediate = dense_intermediate};
    } else {
      added.moe = moe;
    }
  }
  WeightLister(spec).List();
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "deepseek_v3", ParseDeepseekV3);

}  // namespace
}  // namespace r1
