// Llama 2 and 3 (2307.09288, 2407.21783), and so R1-Distill-Llama: grouped-query attention and
// SwiGLU, both with biases where the config says so.

#include <string>

#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

absl::StatusOr<ModelSpec> ParseLlama(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "LlamaForCausalLM"));

  ModelSpec spec;
  spec.family = "llama";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  DenseMlpSpec dense;
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_ASSIGN_OR_RETURN(dense.bias, config.Bool("mlp_bias", false));
  R1_RETURN_IF_ERROR(ReadGroupedAttention(config, {}, spec));
  for (LayerSpec& layer : spec.layers) layer.dense = dense;
  ListWeights(spec);
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "llama", ParseLlama);

}  // namespace
}  // namespace r1
