#include "common/models/attention_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/models/config_fields.h"
#include "common/models/rope_config.h"

namespace r1 {

absl::Status ReadLatentAttention(const JsonFields& config, bool interleaved, ModelSpec& spec) {
  MlaSpec mla;
  R1_RETURN_IF_ERROR(ReadInto(mla.heads, config, "num_attention_heads", kHeads));
  int kv_heads = 0;
  R1_RETURN_IF_ERROR(ReadInto(kv_heads, config, "num_key_value_heads", kHeads, mla.heads));
  if (kv_heads != mla.heads) {
    return config.Error("num_key_value_heads", absl::StrCat("num_attention_heads, ", mla.heads));
  }
  // null means no query compression; a config without the key would mean transformers' default,
  // 1536.
  if (!config.Has("q_lora_rank")) return config.Error("q_lora_rank", "an integer or null");
  R1_RETURN_IF_ERROR(ReadInto(mla.q_lora_rank, config, "q_lora_rank", kWidth, 0));
  R1_RETURN_IF_ERROR(ReadInto(mla.kv_lora_rank, config, "kv_lora_rank", kWidth));
  R1_RETURN_IF_ERROR(ReadInto(mla.qk_nope_head_dim, config, "qk_nope_head_dim", kHeadDim));
  R1_RETURN_IF_ERROR(ReadInto(mla.qk_rope_head_dim, config, "qk_rope_head_dim", kHeadDim));
  R1_RETURN_IF_ERROR(ReadInto(mla.v_head_dim, config, "v_head_dim", kHeadDim));
  R1_ASSIGN_OR_RETURN(mla.projection_bias, config.Bool("attention_bias", false));
  if (mla.qk_rope_head_dim % 2 != 0) return config.Error("qk_rope_head_dim", "an even number");
  R1_ASSIGN_OR_RETURN(const RopeConfig rope,
                      ReadRope(config, mla.qk_rope_head_dim, interleaved, spec.positions_max));
  mla.rope = rope.rope;
  mla.softmax_scale = rope.softmax_factor /
                      std::sqrt(static_cast<double>(mla.qk_nope_head_dim + mla.qk_rope_head_dim));
  spec.positions_max = rope.positions_max;
  for (LayerSpec& layer : spec.layers) layer.mla = mla;
  return absl::OkStatus();
}

absl::Status ReadGroupedAttention(const JsonFields& config, const GqaTraits& traits,
                                  ModelSpec& spec) {
  GqaSpec gqa;
  R1_RETURN_IF_ERROR(ReadInto(gqa.heads, config, "num_attention_heads", kHeads));
  R1_RETURN_IF_ERROR(ReadInto(gqa.kv_heads, config, "num_key_value_heads", {1, gqa.heads},
                              traits.kv_heads_missing == 0 ? gqa.heads : traits.kv_heads_missing));
  if (gqa.heads % gqa.kv_heads != 0) {
    return config.Error("num_key_value_heads",
                        absl::StrCat("a divisor of num_attention_heads, ", gqa.heads));
  }
  if (traits.head_dim_missing == 0 && config.FindOrNull("head_dim") == nullptr &&
      spec.hidden % gqa.heads != 0) {
    return config.Error(
        "num_attention_heads",
        absl::StrCat("a divisor of hidden_size, ", spec.hidden, ", where head_dim is missing"));
  }
  R1_RETURN_IF_ERROR(
      ReadInto(gqa.head_dim, config, "head_dim", kHeadDim,
               traits.head_dim_missing == 0 ? spec.hidden / gqa.heads : traits.head_dim_missing));
  if (gqa.head_dim % 2 != 0) {
    return config.Error("head_dim", absl::StrCat("an even number, not ", gqa.head_dim));
  }
  bool attention_bias = false;
  if (traits.reads_attention_bias) {
    R1_ASSIGN_OR_RETURN(attention_bias, config.Bool("attention_bias", false));
  }
  gqa.qkv_bias = traits.qkv_bias || attention_bias;
  gqa.output_bias = attention_bias;
  gqa.qk_norm = traits.qk_norm;
  gqa.qk_norm_eps = spec.rms_norm_eps;
  gqa.softmax_scale = 1 / std::sqrt(static_cast<double>(gqa.head_dim));
  R1_ASSIGN_OR_RETURN(const RopeConfig rope,
                      ReadRope(config, gqa.head_dim, /*interleaved=*/false, spec.positions_max));
  gqa.rope = rope.rope;
  spec.positions_max = rope.positions_max;
  for (LayerSpec& layer : spec.layers) layer.gqa = gqa;
  return absl::OkStatus();
}

absl::Status RefuseSlidingWindow(const JsonFields& config, bool from_a_layer_on,
                                 const ModelSpec& spec) {
  constexpr int64_t kNoWindow = int64_t{1} << 40;
  R1_ASSIGN_OR_RETURN(const bool used, config.Bool("use_sliding_window", false));
  R1_ASSIGN_OR_RETURN(const int64_t first, config.Integer("max_window_layers", {0, kNoWindow}, 0));
  R1_ASSIGN_OR_RETURN(const int64_t window,
                      config.Integer("sliding_window", {0, kNoWindow}, kNoWindow));
  if (const nlohmann::json* types = config.FindOrNull("layer_types")) {
    if (!types->is_array()) return config.Error("layer_types", "a list of layer types or null");
    for (const nlohmann::json& type : *types) {
      if (type == "full_attention") continue;
      return config.Error("layer_types",
                          absl::StrCat("\"full_attention\" only, not ", DescribeJson(type)));
    }
  }
  const bool reached = !from_a_layer_on || first < static_cast<int64_t>(spec.layers.size());
  if (!used || !reached || window >= spec.positions_max) return absl::OkStatus();
  return config.Error("use_sliding_window", "false (sliding windows are not supported)");
}

}  // namespace r1
