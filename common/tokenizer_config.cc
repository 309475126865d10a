#include "common/tokenizer_config.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::json;

constexpr char kWhere[] = "tokenizer_config.json";

TokenizerConfig ConfigOfVocabulary(const Tokenizer& tokenizer) {
  nlohmann::ordered_json object = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                   {"clean_up_tokenization_spaces", false}};
  for (const char* name : {"bos", "eos", "pad"}) {
    const std::string token = absl::StrCat("<", name, ">");
    if (tokenizer.TokenId(token) >= 0) object[absl::StrCat(name, "_token")] = token;
  }
  TokenizerConfig config;
  config.json = absl::StrCat(object.dump(2), "\n");
  config.bos_id = tokenizer.TokenId("<bos>");
  config.eos_id = tokenizer.TokenId("<eos>");
  return config;
}

// The id of a token that is written as text or as {"content": text, …}; -1 when it is absent.
absl::StatusOr<int32_t> NamedToken(const json& root, const std::string& key,
                                   const Tokenizer& tokenizer) {
  const JsonFields fields(root, kWhere);
  const json* value = fields.FindOrNull(key);
  if (value == nullptr) return -1;
  if (value->is_object() && value->contains("content")) value = &(*value)["content"];
  if (!value->is_string()) return fields.Error(key, "a token");
  const auto& token = value->get_ref<const std::string&>();
  const int32_t id = tokenizer.TokenId(token);
  if (id >= 0) return id;
  return absl::InvalidArgumentError(
      absl::StrCat(kWhere, ": ", key, ": ", Quoted(token), " is not in the vocabulary"));
}

}  // namespace

absl::StatusOr<TokenizerConfig> ReadTokenizerConfig(const std::string& text,
                                                    const Tokenizer& tokenizer) {
  if (text.empty()) return ConfigOfVocabulary(tokenizer);
  R1_ASSIGN_OR_RETURN(const json root, ParseJson(text, kWhere));
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kWhere, ": expected an object, found ", DescribeJson(root)));
  }
  const JsonFields fields(root, kWhere);
  TokenizerConfig config;
  config.json = text;
  config.names_bos = root.contains("bos_token");
  R1_ASSIGN_OR_RETURN(config.bos_id, NamedToken(root, "bos_token", tokenizer));
  R1_ASSIGN_OR_RETURN(config.eos_id, NamedToken(root, "eos_token", tokenizer));
  R1_ASSIGN_OR_RETURN(config.add_bos, fields.Bool("add_bos_token", false));
  if (config.add_bos && config.bos_id < 0) return fields.Error("bos_token", "a token");
  R1_ASSIGN_OR_RETURN(const bool add_eos, fields.Bool("add_eos_token", false));
  if (add_eos) {
    return absl::InvalidArgumentError(absl::StrCat(kWhere, ": add_eos_token: not supported: true"));
  }
  return config;
}

}  // namespace r1
