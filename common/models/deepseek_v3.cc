// DeepSeek-V3 and R1 (2412.19437): latent attention, leading dense layers, then experts behind a
// sigmoid gate with a correction bias.

#include <string>

#include "absl/strings/str_cat.h"
#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

absl::StatusOr<MoeSpec> ReadMoe(const JsonFields& config) {
  MoeSpec moe{.gate = MoeGate::kSigmoidBias};
  int shared = 0;
  R1_ASSIGN_OR_RETURN(const std::string experts_key,
                      KeyAmong(config, {"n_routed_experts", "num_local_experts"}));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts, config, experts_key, kExperts));
  R1_RETURN_IF_ERROR(ReadInto(moe.intermediate, config, "moe_intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadInto(shared, config, "n_shared_experts", {0, 64}));
  moe.shared_intermediate = shared * moe.intermediate;
  R1_RETURN_IF_ERROR(ReadInto(moe.expert_groups, config, "n_group", {1, moe.experts}));
  const int group_size = moe.experts / moe.expert_groups;
  // A group's score is the sum of its two best experts.
  if (moe.experts % moe.expert_groups != 0 || (moe.expert_groups > 1 && group_size < 2)) {
    return config.Error("n_group", absl::StrCat("a number of groups of at least 2 experts that "
                                                "divides ",
                                                experts_key, ", ", moe.experts));
  }
  R1_RETURN_IF_ERROR(
      ReadInto(moe.expert_groups_kept, config, "topk_group", {1, moe.expert_groups}));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts_per_token, config, "num_experts_per_tok",
                              {1, moe.expert_groups_kept * group_size}));
  R1_ASSIGN_OR_RETURN(moe.normalize_weights, config.Bool("norm_topk_prob"));
  R1_ASSIGN_OR_RETURN(moe.routed_scaling_factor, config.PositiveNumber("routed_scaling_factor"));
  return moe;
}

absl::StatusOr<ModelSpec> ParseDeepseekV3(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "DeepseekV3ForCausalLM"));
  R1_RETURN_IF_ERROR(Expect(config, "scoring_func", {"sigmoid"}));
  R1_RETURN_IF_ERROR(Expect(config, "topk_method", {"noaux_tc"}));

  ModelSpec spec;
  spec.family = "deepseek_v3";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  const int layers = static_cast<int>(spec.layers.size());
  int dense_layers = 0;
  DenseMlpSpec dense;
  R1_ASSIGN_OR_RETURN(const std::string mtp_key,
                      KeyAmong(config, {"num_nextn_predict_layers", "num_mtp_layers"}));
  R1_RETURN_IF_ERROR(ReadInto(spec.mtp_layers, config, mtp_key, {0, 64}, 0));
  R1_RETURN_IF_ERROR(ReadInto(dense_layers, config, "first_k_dense_replace", {0, layers}));
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_ASSIGN_OR_RETURN(const bool interleaved, config.Bool("rope_interleave", true));
  R1_RETURN_IF_ERROR(ReadLatentAttention(config, interleaved, spec));
  R1_ASSIGN_OR_RETURN(const MoeSpec moe, ReadMoe(config));
  R1_RETURN_IF_ERROR(CheckWeightCount(config, "n_routed_experts", layers, moe.experts));
  for (int layer = 0; layer < layers; ++layer) {
    LayerSpec& spec_layer = spec.layers[static_cast<size_t>(layer)];
    if (layer < dense_layers) {
      spec_layer.dense = dense;
    } else {
      spec_layer.moe = moe;
    }
  }
  ListWeights(spec);
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "deepseek_v3", ParseDeepseekV3);

}  // namespace
}  // namespace r1
