// `pico`: a dense layer, then experts behind a softmax gate beside a shared one; grouped-query
// attention with head norms everywhere. Its checkpoints say "decoder" where others say "model".
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

absl::StatusOr<ModelSpec> ParsePico(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "PicoForCausalLM"));

  ModelSpec spec;
  spec.family = "pico";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  R1_RETURN_IF_ERROR(ReadGroupedAttention(config, {.qkv_bias = true, .qk_norm = true}, spec));
  DenseMlpSpec dense;
  MoeSpec moe{.gate = MoeGate::kSoftmax};
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadInto(moe.intermediate, config, "expert_size", kMlpWidth));
  R1_RETURN_IF_ERROR(ReadInto(moe.experts, config, "experts", kExperts));
  R1_RETURN_IF_ERROR(
      ReadInto(moe.experts_per_token, config, "experts_per_token", {1, moe.experts}));
  moe.shared_intermediate = moe.intermediate;
  const int layers = static_cast<int>(spec.layers.size());
  R1_RETURN_IF_ERROR(CheckWeightCount(config, "experts", layers, moe.experts));
  spec.layers[0].dense = dense;
  for (size_t layer = 1; layer < spec.layers.size(); ++layer) spec.layers[layer].moe = moe;
  ListWeights(spec);
  for (WeightSpec& weight : spec.weights) {
    absl::string_view name = weight.name;
    if (absl::ConsumePrefix(&name, "model.")) weight.name = absl::StrCat("decoder.", name);
  }
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "pico", ParsePico);

}  // namespace
}  // namespace r1
