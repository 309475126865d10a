#include "common/models/config_fields.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/fp8_blocks.h"

namespace r1 {
namespace {

using nlohmann::json;

constexpr int64_t kWeightsMax = 1 << 20;
constexpr size_t kEosIdsMax = 1024;

// Keys of related architectures that change what a layer computes, with the value that does not.
struct ForeignKey {
  const char* key;
  json neutral;
};
const std::vector<ForeignKey>& ForeignKeys() {
  static const auto* keys = new std::vector<ForeignKey>{
      {"attention_multiplier", 1},
      {"attn_logit_softcapping", nullptr},
      {"clip_qkv", nullptr},
      {"embedding_multiplier", 1},
      {"final_logit_softcapping", nullptr},
      {"index_topk", nullptr},
      {"logit_scale", 1},
      {"logits_scaling", 1},
      {"no_rope_layers", nullptr},
      {"parallel_attn", false},
      {"partial_rotary_factor", 1},
      {"qk_layernorm", false},
      {"query_pre_attn_scalar", nullptr},
      {"residual_multiplier", 1},
      {"scale_depth", nullptr},
      {"scale_emb", 1},
      {"use_qk_norm", false},
  };
  return *keys;
}

}  // namespace

absl::Status ReadInto(int& field, const JsonFields& config, const std::string& key,
                      JsonFields::Range range, std::optional<int64_t> missing) {
  R1_ASSIGN_OR_RETURN(const int64_t value, config.Integer(key, range, missing));
  field = static_cast<int>(value);
  return absl::OkStatus();
}

absl::Status Expect(const JsonFields& config, const std::string& key,
                    std::initializer_list<json> supported) {
  const json* value = config.FindOrNull(key);
  if (value == nullptr) return absl::OkStatus();
  std::vector<std::string> names;
  for (const json& one : supported) {
    if (*value == one) return absl::OkStatus();
    names.push_back(one.is_array() ? DumpJson(one) : DescribeJson(one));
  }
  return config.Error(key,
                      absl::StrCat(absl::StrJoin(names, " or "), " (others are not supported)"));
}

absl::StatusOr<std::string> KeyAmong(const JsonFields& config,
                                     std::initializer_list<const char*> names) {
  const char* found = nullptr;
  for (const char* name : names) {
    if (config.FindOrNull(name) == nullptr) continue;
    if (found != nullptr && *config.FindOrNull(name) != *config.FindOrNull(found)) {
      return config.Error(name, absl::StrCat("the value of ", found, ", ",
                                             DescribeJson(*config.FindOrNull(found))));
    }
    if (found == nullptr) found = name;
  }
  return std::string(found == nullptr ? *names.begin() : found);
}

absl::Status RefuseForeign(const JsonFields& config, const std::string& hf_config_json,
                           const std::string& architecture) {
  R1_RETURN_IF_ERROR(Expect(config, "architectures", {json::array({architecture})}));
  R1_RETURN_IF_ERROR(Expect(config, "hidden_act", {"silu", "swish"}));
  R1_RETURN_IF_ERROR(ParseFp8Blocks(hf_config_json, "config.json").status());
  for (const ForeignKey& foreign : ForeignKeys()) {
    const json* value = config.FindOrNull(foreign.key);
    if (value == nullptr || *value == foreign.neutral) continue;
    return config.Error(foreign.key,
                        absl::StrCat("no such key", foreign.neutral.is_null() ? "" : " or ",
                                     foreign.neutral.is_null() ? "" : DumpJson(foreign.neutral),
                                     " (the mathematics that it asks for is not supported)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> ReadEosIds(const JsonFields& config) {
  std::vector<int32_t> ids;
  const json* value = config.FindOrNull("eos_token_id");
  if (value == nullptr) return ids;
  const json list = value->is_array() ? *value : json::array({*value});
  bool valid = list.size() <= kEosIdsMax;
  for (const json& id : list) {
    valid = valid && id.is_number_integer() && !(id > INT32_MAX) && !(id < INT32_MIN);
    if (!valid) break;
    if (id.get<int64_t>() >= 0) ids.push_back(id.get<int32_t>());
  }
  if (!valid) {
    return config.Error("eos_token_id",
                        absl::StrCat("a token id or a list of at most ", kEosIdsMax, " of them"));
  }
  return ids;
}

absl::Status ReadSizes(const JsonFields& config, ModelSpec& spec) {
  int layers = 0;
  R1_RETURN_IF_ERROR(ReadInto(spec.hidden, config, "hidden_size", kWidth));
  R1_RETURN_IF_ERROR(ReadInto(spec.vocab, config, "vocab_size", {1, 1 << 24}));
  R1_RETURN_IF_ERROR(ReadInto(layers, config, "num_hidden_layers", kLayers));
  R1_RETURN_IF_ERROR(ReadInto(spec.positions_max, config, "max_position_embeddings", {1, 1 << 30}));
  R1_ASSIGN_OR_RETURN(spec.rms_norm_eps, config.PositiveNumber("rms_norm_eps", 1e-6));
  R1_ASSIGN_OR_RETURN(spec.tie_embeddings, config.Bool("tie_word_embeddings", false));
  R1_ASSIGN_OR_RETURN(spec.eos_ids, ReadEosIds(config));
  spec.layers.resize(static_cast<size_t>(layers));
  return absl::OkStatus();
}

absl::Status CheckWeightCount(const JsonFields& config, const std::string& key, int layers,
                              int experts) {
  if (int64_t{layers} * (3 * int64_t{experts} + 24) <= kWeightsMax) return absl::OkStatus();
  return config.Error(key,
                      absl::StrCat("at most ", kWeightsMax, " weights in all layers together"));
}

}  // namespace r1
