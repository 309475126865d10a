// Qwen3, dense (2505.09388): grouped-query attention with a norm of every query and key head, heads
// whose size is a number of its own, and SwiGLU.

#include <string>

#include "common/models/attention_config.h"
#include "common/models/config_fields.h"
#include "common/models/weight_list.h"

namespace r1 {
namespace {

absl::StatusOr<ModelSpec> ParseQwen3(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(hf_config_json, "config.json"));
  const JsonFields config(json, "config.json");
  R1_RETURN_IF_ERROR(RefuseForeign(config, hf_config_json, "Qwen3ForCausalLM"));

  ModelSpec spec;
  spec.family = "qwen3";
  spec.hf_config_json = hf_config_json;
  R1_RETURN_IF_ERROR(ReadSizes(config, spec));
  DenseMlpSpec dense;
  R1_RETURN_IF_ERROR(ReadInto(dense.intermediate, config, "intermediate_size", kMlpWidth));
  R1_RETURN_IF_ERROR(
      ReadGroupedAttention(config, {.head_dim_missing = 128, .qk_norm = true}, spec));
  R1_RETURN_IF_ERROR(RefuseSlidingWindow(config, /*from_a_layer_on=*/true, spec));
  for (LayerSpec& layer : spec.layers) layer.dense = dense;
  ListWeights(spec);
  return spec;
}

R1_REGISTER(ModelFamilyRegistry, "qwen3", ParseQwen3);

}  // namespace
}  // namespace r1
