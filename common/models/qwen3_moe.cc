// Qwen3-MoE (2505.09388): the attention of Qwen3, and experts behind a softmax gate, without groups
// and without shared experts, in the layers that the config does not keep dense.

#include <set>
#include <string>

#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

absl::StatusOr<MoeSpec> ReadMoe(const JsonFields& config) {
  MoeSpec moe{.gate = MoeGate::kSoftmax};
  R1_ASSIGN_OR_RETURN(const std::string experts_key,
                      KeyAmong(config, {"num_experts", "num_local_experts"}));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts, config, experts_key, {0, kExperts.max}));
  if (moe.experts == 0) return moe;
  R1_RETURN_IF_ERROR(ReadInto(moe.intermediate, config, "moe_intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(
      ReadInto(moe.experts_per_token, config, "num_experts_per_tok", {1, moe.experts}));
  R1_ASSIGN_OR_RETURN(moe.normalize_weights, config.Bool("norm_topk_prob", false));
  return moe;
}

absl::StatusOr<std::set<int64_t>> ReadDenseLayers(const JsonFields& config) {
  std::set<int64_t> layers;
  const nlohmann::json* list = config.FindOrNull("mlp_only_layers");
  if (list == nullptr) return layers;
  if (!list->is_array()) return config.Error("mlp_only_layers", "a list of layers or null");
  for (const nlohmann::json& layer : *list) {
    if (!layer.is_number_integer()) return config.Error("mlp_only_layers", "a list of integers");
    layers.insert(layer.get<int64_t>());
  }
  return layers;
}

absl::StatusOr<ModelSpec> ParseQwen3Moe(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "Qwen3MoeForCausalLM"));

  ModelSpec spec;
  spec.family = "qwen3_moe";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  DenseMlpSpec dense;
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadGroupedAttention(config, {.kv_heads_missing = 4, .qk_norm = true}, spec));
  R1_RETURN_IF_ERROR(RefuseSlidingWindow(config, /*from_a_layer_on=*/false, spec));
  R1_ASSIGN_OR_RETURN(const MoeSpec moe, ReadMoe(config));
  R1_ASSIGN_OR_RETURN(const std::set<int64_t> dense_layers, ReadDenseLayers(config));
  R1_ASSIGN_OR_RETURN(const int64_t step, config.Integer("decoder_sparse_step", {1, 1 << 30}, 1));
  const auto layers = static_cast<int64_t>(spec.layers.size());
  R1_RETURN_IF_ERROR(
      CheckWeightCount(config, "num_experts", static_cast<int>(layers), moe.experts));
  for (int64_t layer = 0; layer < layers; ++layer) {
    LayerSpec& spec_layer = spec.layers[static_cast<size_t>(layer)];
    if (moe.experts > 0 && dense_layers.count(layer) == 0 && (layer + 1) % step == 0) {
      spec_layer.moe = moe;
    } else {
      spec_layer.dense = dense;
    }
  }
  ListWeights(spec);
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "qwen3_moe", ParseQwen3Moe);

}  // namespace
}  // namespace r1
