// DeepSeek-V2 and V2-Lite (2405.04434): latent attention, leading dense layers, then experts behind
// a softmax gate. As transformers 5 computes it: the weights of the chosen experts are scaled and
// never normalised, whatever norm_topk_prob says.

#include <string>

#include "absl/strings/str_cat.h"
#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

// topk_method: "greedy" takes the best of all experts, "group_limited_greedy" those of the groups
// whose best experts are best.
absl::Status ReadGroups(const JsonFields& config, MoeSpec& moe) {
  R1_RETURN_IF_ERROR(Expect(config, "topk_method", {"greedy", "group_limited_greedy"}));
  R1_ASSIGN_OR_RETURN(const std::string method, config.String("topk_method", "greedy"));
  if (method == "greedy") return absl::OkStatus();
  R1_RETURN_IF_ERROR(ReadInto(moe.expert_groups, config, "n_group", {1, moe.experts}));
  if (moe.experts % moe.expert_groups != 0) {
    return config.Error("n_group",
                        absl::StrCat("a divisor of the number of experts, ", moe.experts));
  }
  return ReadInto(moe.expert_groups_kept, config, "topk_group", {1, moe.expert_groups});
}

absl::StatusOr<MoeSpec> ReadMoe(const JsonFields& config) {
  MoeSpec moe{.gate = MoeGate::kSoftmax, .normalize_weights = false};
  int shared = 0;
  R1_ASSIGN_OR_RETURN(const std::string experts_key,
                      KeyAmong(config, {"n_routed_experts", "num_experts"}));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts, config, experts_key, kExperts));
  R1_RETURN_IF_ERROR(ReadInto(moe.intermediate, config, "moe_intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadInto(shared, config, "n_shared_experts", {0, 64}, 0));
  moe.shared_intermediate = shared * moe.intermediate;
  R1_RETURN_IF_ERROR(ReadGroups(config, moe));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts_per_token, config, "num_experts_per_tok",
                              {1, moe.expert_groups_kept * (moe.experts / moe.expert_groups)}));
  R1_ASSIGN_OR_RETURN(moe.routed_scaling_factor, config.PositiveNumber("routed_scaling_factor", 1));
  return moe;
}

absl::StatusOr<ModelSpec> ParseDeepseekV2(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "DeepseekV2ForCausalLM"));
  R1_RETURN_IF_ERROR(Expect(config, "scoring_func", {"softmax"}));
  R1_RETURN_IF_ERROR(Expect(config, "mlp_bias", {false}));

  ModelSpec spec;
  spec.family = "deepseek_v2";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  const int layers = static_cast<int>(spec.layers.size());
  int dense_layers = 0;
  DenseMlpSpec dense;
  R1_RETURN_IF_ERROR(ReadInto(dense_layers, config, "first_k_dense_replace", {0, layers}, 0));
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadLatentAttention(config, /*interleaved=*/true, spec));
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

R1_REGISTER(ModelFamilyRegistry, "deepseek_v2", ParseDeepseekV2);

}  // namespace
}  // namespace r1
