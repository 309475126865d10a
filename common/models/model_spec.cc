#include "common/models/model_spec.h"

#include <cmath>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1 {
namespace {

// Layers and experts are bounded by the families (2^20 at most), -1 included.
uint64_t IndexKey(WeightRole role, int layer, int expert) {
  return static_cast<uint64_t>(role) << 48 | static_cast<uint64_t>(layer + 1) << 24 |
         static_cast<uint64_t>(expert + 1);
}

std::string Describe(WeightRole role, int layer, int expert) {
  std::string text = WeightRoleName(role);
  if (layer >= 0) absl::StrAppend(&text, " of layer ", layer);
  if (expert >= 0) absl::StrAppend(&text, ", expert ", expert);
  return text;
}

}  // namespace

RopeSpec PlainRope(int dim, double theta, bool interleaved) {
  RopeSpec rope;
  rope.dim = dim;
  rope.interleaved = interleaved;
  for (int i = 0; i < dim / 2; ++i) {
    rope.inverse_frequencies.push_back(static_cast<float>(1.0 / std::pow(theta, 2.0 * i / dim)));
  }
  return rope;
}

bool WeightSpec::is_norm() const {
  return role == WeightRole::kFinalNorm || role == WeightRole::kAttentionNorm ||
         role == WeightRole::kQueryNorm || role == WeightRole::kKvNorm ||
         role == WeightRole::kQueryHeadNorm || role == WeightRole::kKeyHeadNorm ||
         role == WeightRole::kMlpNorm;
}

bool WeightSpec::is_expert() const {
  return role == WeightRole::kExpertGate || role == WeightRole::kExpertUp ||
         role == WeightRole::kExpertDown || role == WeightRole::kSharedGate ||
         role == WeightRole::kSharedUp || role == WeightRole::kSharedDown;
}

int64_t WeightSpec::elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

int64_t ModelSpec::parameters() const {
  int64_t count = 0;
  for (const WeightSpec& weight : weights) {
    if (weight.trainable()) count += weight.elements();
  }
  return count;
}

int64_t ModelSpec::active_parameters() const {
  int64_t count = 0;
  for (const WeightSpec& weight : weights) {
    if (!weight.trainable()) continue;
    // The experts of a layer are alike: a token uses as many of them as if it were the first ones.
    const bool idle =
        weight.expert >= 0 &&
        weight.expert >= layers[static_cast<size_t>(weight.layer)].moe->experts_per_token;
    if (!idle) count += weight.elements();
  }
  return count;
}

int64_t ModelSpec::routed_experts() const {
  int64_t count = 0;
  for (const LayerSpec& layer : layers) count += layer.moe.has_value() ? layer.moe->experts : 0;
  return count;
}

absl::StatusOr<int> ModelSpec::FindWeight(WeightRole role, int layer, int expert) const {
  if (weight_index.size() == weights.size()) {
    const auto found = weight_index.find(IndexKey(role, layer, expert));
    if (found != weight_index.end()) return found->second;
  } else {
    for (size_t i = 0; i < weights.size(); ++i) {
      const WeightSpec& weight = weights[i];
      if (weight.role == role && weight.layer == layer && weight.expert == expert) {
        return static_cast<int>(i);
      }
    }
  }
  return absl::NotFoundError(
      absl::StrCat("a ", family, " model has no weight ", Describe(role, layer, expert)));
}

absl::Status ModelSpec::IndexWeights() {
  weight_index.clear();
  std::unordered_set<std::string> names;
  for (size_t i = 0; i < weights.size(); ++i) {
    const WeightSpec& weight = weights[i];
    if (!names.insert(weight.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("family ", family, " names two weights ", weight.name));
    }
    const uint64_t key = IndexKey(weight.role, weight.layer, weight.expert);
    if (!weight_index.emplace(key, static_cast<int>(i)).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "family ", family, " has two weights ",
          Describe(weight.role, weight.layer, weight.expert), "; the second is ", weight.name));
    }
  }
  return absl::OkStatus();
}

std::string WeightRoleName(WeightRole role) {
  switch (role) {
    case WeightRole::kEmbedding:
      return "embedding";
    case WeightRole::kFinalNorm:
      return "final_norm";
    case WeightRole::kHead:
      return "head";
    case WeightRole::kAttentionNorm:
      return "attention_norm";
    case WeightRole::kQuery:
      return "query";
    case WeightRole::kQueryDown:
      return "query_down";
    case WeightRole::kQueryNorm:
      return "query_norm";
    case WeightRole::kKvDown:
      return "kv_down";
    case WeightRole::kKvNorm:
      return "kv_norm";
    case WeightRole::kKvUp:
      return "kv_up";
    case WeightRole::kQueryDownBias:
      return "query_down_bias";
    case WeightRole::kKvDownBias:
      return "kv_down_bias";
    case WeightRole::kKey:
      return "key";
    case WeightRole::kValue:
      return "value";
    case WeightRole::kOutput:
      return "output";
    case WeightRole::kQueryBias:
      return "query_bias";
    case WeightRole::kKeyBias:
      return "key_bias";
    case WeightRole::kValueBias:
      return "value_bias";
    case WeightRole::kOutputBias:
      return "output_bias";
    case WeightRole::kQueryHeadNorm:
      return "query_head_norm";
    case WeightRole::kKeyHeadNorm:
      return "key_head_norm";
    case WeightRole::kMlpNorm:
      return "mlp_norm";
    case WeightRole::kGate:
      return "gate";
    case WeightRole::kUp:
      return "up";
    case WeightRole::kDown:
      return "down";
    case WeightRole::kGateBias:
      return "gate_bias";
    case WeightRole::kUpBias:
      return "up_bias";
    case WeightRole::kDownBias:
      return "down_bias";
    case WeightRole::kRouter:
      return "router";
    case WeightRole::kRouterBias:
      return "router_bias";
    case WeightRole::kExpertGate:
      return "expert_gate";
    case WeightRole::kExpertUp:
      return "expert_up";
    case WeightRole::kExpertDown:
      return "expert_down";
    case WeightRole::kSharedGate:
      return "shared_gate";
    case WeightRole::kSharedUp:
      return "shared_up";
    case WeightRole::kSharedDown:
      return "shared_down";
  }
  return absl::StrCat("role_", static_cast<int>(role));
}

absl::StatusOr<ModelSpec> ParseModelSpec(const std::string& hf_config_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(hf_config_json, "config.json"));
  if (!config.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: expected an object, found ", DescribeJson(config)));
  }
  R1_ASSIGN_OR_RETURN(const std::string family,
                      JsonFields(config, "config.json").String("model_type"));
  const ModelFamilyRegistry::Factory* parse = ModelFamilyRegistry::FindOrNull(family);
  if (parse == nullptr) {
    const std::vector<std::string> known = ModelFamilyRegistry::Names();
    return absl::InvalidArgumentError(absl::StrCat("config.json: model_type: expected one of ",
                                                   absl::StrJoin(known, ", "), ", found ",
                                                   Quoted(family), DidYouMean(family, known)));
  }
  R1_ASSIGN_OR_RETURN(ModelSpec spec, (*parse)(hf_config_json));
  R1_RETURN_IF_ERROR(spec.IndexWeights());
  return spec;
}

}  // namespace r1
