// Qwen2 and Qwen2.5 (2407.10671, 2412.15115), and so R1-Distill-Qwen: grouped-query attention with
// biases on q, k and v, which no key of the config names, and SwiGLU.

#include <string>

#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

absl::StatusOr<ModelSpec> ParseQwen2(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "Qwen2ForCausalLM"));

  ModelSpec spec;
  spec.family = "qwen2";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  DenseMlpSpec dense;
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(
      ReadGroupedAttention(config, {.qkv_bias = true, .reads_attention_bias = false}, spec));
  R1_RETURN_IF_ERROR(RefuseSlidingWindow(config, /*from_a_layer_on=*/true, spec));
  for (LayerSpec& layer : spec.layers) layer.dense = dense;
  ListWeights(spec);
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "qwen2", ParseQwen2);

}  // namespace
}  // namespace r1
