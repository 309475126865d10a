#include "common/chat_template_files.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/json.h"

namespace r1 {
namespace {

constexpr uint64_t kFileBytesMax = 200 << 20;
constexpr char kConfigName[] = "tokenizer_config.json";
constexpr char kTemplateName[] = "chat_template.jinja";

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ParseOf(const std::string& where,
                                                            absl::string_view source) {
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return Annotate(parsed.status(), absl::StrCat(where, ": chat template"));
  return parsed;
}

// "bos_token": "<s>", or {"content": "<s>", …}; null counts as missing.
std::map<std::string, std::string> SpecialTokens(const nlohmann::json& config) {
  std::map<std::string, std::string> tokens;
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    const auto found = config.find(name);
    if (found == config.end()) continue;
    const nlohmann::json* text = &*found;
    if (text->is_object() && text->contains("content")) text = &(*text)["content"];
    if (text->is_string()) tokens.emplace(name, text->get<std::string>());
  }
  return tokens;
}

// Whether the conversation comes with tools, as transformers asks.
bool HasTools(const nlohmann::json& variables) {
  const auto tools = variables.find("tools");
  return tools != variables.end() && !tools->is_null();
}

}  // namespace

absl::StatusOr<ModelChatTemplate> ModelChatTemplate::OfSource(absl::string_view source) {
  ModelChatTemplate model;
  R1_ASSIGN_OR_RETURN(model.default_, ChatTemplate::Parse(source));
  return model;
}

absl::StatusOr<ModelChatTemplate> ModelChatTemplate::Load(const std::string& folder) {
  FileSystem& files = RealFileSystem();
  const std::string config_path = JoinPath(folder, kConfigName);
  const std::string template_path = JoinPath(folder, kTemplateName);
  std::string config = "{}";
  if (files.Exists(config_path)) {
    R1_ASSIGN_OR_RETURN(config, files.Read(config_path, kFileBytesMax));
  }
  if (!files.Exists(template_path)) {
    absl::StatusOr<ModelChatTemplate> model = Parse(config, "", config_path);
    if (!absl::IsNotFound(model.status())) return model;
    return absl::NotFoundError(absl::StrCat(folder, ": expected a chat template in ", kTemplateName,
                                            " or ", kConfigName, ", found none"));
  }
  R1_ASSIGN_OR_RETURN(const std::string source, files.Read(template_path, kFileBytesMax));
  R1_ASSIGN_OR_RETURN(ModelChatTemplate model, WithSpecialTokens(config, config_path));
  R1_ASSIGN_OR_RETURN(model.default_, ParseOf(template_path, source));
  return model;
}

absl::StatusOr<ModelChatTemplate> ModelChatTemplate::WithSpecialTokens(
    absl::string_view config_json, const std::string& where) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(config_json, where));
  if (!config.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected an object"));
  }
  ModelChatTemplate model;
  model.special_tokens_ = SpecialTokens(config);
  return model;
}

absl::StatusOr<ModelChatTemplate> ModelChatTemplate::Parse(absl::string_view config_json,
                                                           absl::string_view source,
                                                           const std::string& where) {
  R1_ASSIGN_OR_RETURN(ModelChatTemplate model, WithSpecialTokens(config_json, where));
  if (!source.empty()) {
    R1_ASSIGN_OR_RETURN(model.default_, ParseOf(where, source));
    return model;
  }
  R1_ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(config_json, where));
  const JsonFields fields(config, where);
  const nlohmann::json* found = fields.FindOrNull("chat_template");
  if (found == nullptr) {
    return absl::NotFoundError(absl::StrCat(where, ": expected a chat_template, found none"));
  }
  if (found->is_string()) {
    R1_ASSIGN_OR_RETURN(model.default_, ParseOf(where, found->get_ref<const std::string&>()));
    return model;
  }
  if (!found->is_array()) return fields.Error("chat_template", "a text or a list of them");
  for (const nlohmann::json& named : *found) {
    const JsonFields entry(named, absl::StrCat(where, ": chat_template"));
    if (!named.is_object()) return fields.Error("chat_template", "objects {name, template}");
    R1_ASSIGN_OR_RETURN(const std::string name, entry.String("name"));
    R1_ASSIGN_OR_RETURN(const std::string text, entry.String("template"));
    if (name != "default" && name != "tool_use") continue;
    R1_ASSIGN_OR_RETURN((name == "default" ? model.default_ : model.tool_use_),
                        ParseOf(where, text));
  }
  if (model.default_ == nullptr) return fields.Error("chat_template", "one named \"default\"");
  return model;
}

absl::StatusOr<RenderedChat> ModelChatTemplate::Render(absl::string_view variables_json,
                                                       absl::string_view where,
                                                       absl::Time now) const {
  if (special_tokens_.empty() && tool_use_ == nullptr) {
    return default_->Render(variables_json, where, now);
  }
  R1_ASSIGN_OR_RETURN(const nlohmann::json given, ParseJson(variables_json, where));
  const bool tools = given.is_object() && HasTools(given);
  const ChatTemplate& chosen = tools && tool_use_ != nullptr ? *tool_use_ : *default_;
  if (!given.is_object()) return chosen.Render(variables_json, where, now);
  // Put in front as text, since a parsed and dumped row would lose the order of its keys.
  std::string variables = "{";
  for (const auto& [name, token] : special_tokens_) {
    if (given.contains(name)) continue;
    absl::StrAppend(&variables, JsonString(name), ":", JsonString(token), ",");
  }
  const size_t brace = variables_json.find('{');
  if (given.empty()) return chosen.Render(variables_json, where, now);
  absl::StrAppend(&variables, variables_json.substr(brace + 1));
  return chosen.Render(variables, where, now);
}

}  // namespace r1
