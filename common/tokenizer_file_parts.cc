#include "common/tokenizer_file_parts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1::tokenizer_file {
namespace {

using nlohmann::json;

constexpr int64_t kIdMax = (1 << 24) - 1;

std::string Where(const std::string& path) { return absl::StrCat(kWhere, ": ", path); }

// The "type" of a part, which must be an object.
absl::StatusOr<std::string> TypeOf(const json& part, const std::string& path) {
  if (!part.is_object()) return Unsupported(path, part);
  const auto type = part.find("type");
  if (type == part.end() || !type->is_string()) {
    return Unsupported(path + ".type", type == part.end() ? json() : *type);
  }
  return type->get<std::string>();
}

// Calls `read(element, path of the element)` for each part of a Sequence.
template <typename Read>
absl::Status ForEach(const json& sequence, const std::string& path, const std::string& key,
                     Read read) {
  R1_RETURN_IF_ERROR(ExpectKeys(sequence, path + ".", {"type", key}));
  const JsonFields fields(sequence, Where(path));
  const json* parts = fields.FindOrNull(key);
  if (parts == nullptr || !parts->is_array()) return fields.Error(key, "an array");
  for (size_t i = 0; i < parts->size(); ++i) {
    R1_RETURN_IF_ERROR(read((*parts)[i], absl::StrCat(path, ".", key, "[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status ReadNormalizerPart(const json& part, const std::string& path, TokenizerFile& file) {
  R1_ASSIGN_OR_RETURN(const std::string type, TypeOf(part, path));
  if (type == "Sequence") {
    return ForEach(part, path, "normalizers", [&](const json& inner, const std::string& where) {
      return ReadNormalizerPart(inner, where, file);
    });
  }
  if (type != "NFC") return Unsupported(path + ".type", type);
  file.normalize_nfc = true;
  return ExpectKeys(part, path + ".", {"type"});
}

absl::Status ReadByteLevel(const json& part, const std::string& path, TokenizerFile& file) {
  R1_RETURN_IF_ERROR(
      ExpectKeys(part, path + ".", {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  // Hugging Face's defaults for missing keys are true.
  const JsonFields fields(part, Where(path));
  R1_ASSIGN_OR_RETURN(file.add_prefix_space, fields.Bool("add_prefix_space", true));
  R1_ASSIGN_OR_RETURN(file.split_like_gpt2, fields.Bool("use_regex", true));
  return absl::OkStatus();
}

absl::Status ReadSplit(const json& part, const std::string& path, TokenizerFile& file) {
  R1_RETURN_IF_ERROR(ExpectKeys(part, path + ".", {"type", "pattern", "behavior", "invert"}));
  R1_RETURN_IF_ERROR(ExpectOneOf(part, path + ".", "behavior", {"Isolated"}));
  R1_RETURN_IF_ERROR(ExpectOneOf(part, path + ".", "invert", {false}));
  const JsonFields fields(part, Where(path));
  if (fields.FindOrNull("behavior") == nullptr) return fields.Error("behavior", "\"Isolated\"");
  const json* pattern = fields.FindOrNull("pattern");
  if (pattern == nullptr || !pattern->is_object()) return fields.Error("pattern", "an object");
  R1_RETURN_IF_ERROR(ExpectKeys(*pattern, path + ".pattern.", {"Regex"}));
  R1_ASSIGN_OR_RETURN(std::string expression,
                      JsonFields(*pattern, Where(path + ".pattern")).String("Regex"));
  file.split_expressions.push_back(std::move(expression));
  return absl::OkStatus();
}

// Of TemplateProcessing's special_tokens: the ids of the one with this name.
absl::Status AppendTemplateIds(const json& part, const std::string& path, const std::string& name,
                               std::vector<int32_t>& ids) {
  const JsonFields fields(part, Where(path));
  const json* tokens = fields.FindOrNull("special_tokens");
  if (tokens == nullptr || !tokens->is_object()) return fields.Error("special_tokens", "an object");
  const auto token = tokens->find(name);
  const json* list = nullptr;
  if (token != tokens->end() && token->is_object()) {
    list = JsonFields(*token, Where(path)).FindOrNull("ids");
  }
  const auto is_id = [](const json& id) {
    return id.is_number_unsigned() && id.get<uint64_t>() <= static_cast<uint64_t>(kIdMax);
  };
  if (list == nullptr || !list->is_array() || !std::all_of(list->begin(), list->end(), is_id)) {
    return absl::InvalidArgumentError(absl::StrCat(Where(path), ".special_tokens: ", Quoted(name),
                                                   ": expected an object with a list of ids"));
  }
  for (const json& id : *list) ids.push_back(id.get<int32_t>());
  return absl::OkStatus();
}

// The template for a single text: special tokens around the one Sequence "A".
absl::Status ReadTemplate(const json& part, const std::string& path, TokenizerFile& file) {
  R1_RETURN_IF_ERROR(ExpectKeys(part, path + ".", {"type", "single", "pair", "special_tokens"}));
  if (!file.ids_before.empty() || !file.ids_after.empty()) {
    return Unsupported(path + ": a second TemplateProcessing", part);
  }
  const JsonFields fields(part, Where(path));
  const json* single = fields.FindOrNull("single");
  if (single == nullptr || !single->is_array()) return fields.Error("single", "an array");
  int texts = 0;
  for (size_t i = 0; i < single->size(); ++i) {
    const json& item = (*single)[i];
    const std::string item_path = absl::StrCat(path, ".single[", i, "]");
    const bool is_one = item.is_object() && item.size() == 1 && item.begin()->is_object();
    if (!is_one) return Unsupported(item_path, item);
    const std::string kind = item.begin().key();
    R1_ASSIGN_OR_RETURN(const std::string id,
                        JsonFields(*item.begin(), Where(item_path)).String("id"));
    if (kind == "Sequence" && id == "A") {
      ++texts;
    } else if (kind == "SpecialToken") {
      R1_RETURN_IF_ERROR(
          AppendTemplateIds(part, path, id, texts == 0 ? file.ids_before : file.ids_after));
    } else {
      return Unsupported(absl::StrCat(item_path, ".", Quoted(kind)), id);
    }
  }
  if (texts != 1) return Unsupported(path + ".single: not exactly one Sequence \"A\"", *single);
  return absl::OkStatus();
}

absl::Status ReadPostProcessorPart(const json& part, const std::string& path, TokenizerFile& file) {
  R1_ASSIGN_OR_RETURN(const std::string type, TypeOf(part, path));
  if (type == "Sequence") {
    return ForEach(part, path, "processors", [&](const json& inner, const std::string& where) {
      return ReadPostProcessorPart(inner, where, file);
    });
  }
  if (type == "TemplateProcessing") return ReadTemplate(part, path, file);
  if (type != "ByteLevel") return Unsupported(path + ".type", type);
  return ExpectKeys(part, path + ".", {"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

}  // namespace

absl::Status Unsupported(absl::string_view feature, const json& found) {
  return absl::InvalidArgumentError(
      absl::StrCat(kWhere, ": ", feature, ": not supported: ", DescribeJson(found)));
}

absl::Status ExpectOneOf(const json& object, const std::string& path, const std::string& key,
                         const std::vector<json>& supported) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return absl::OkStatus();
  if (std::find(supported.begin(), supported.end(), *value) != supported.end()) {
    return absl::OkStatus();
  }
  return Unsupported(path + key, *value);
}

absl::Status ExpectKeys(const json& object, const std::string& path,
                        const std::vector<std::string>& known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Unsupported(path + Quoted(key), value);
    }
  }
  return absl::OkStatus();
}

absl::Status ExpectType(const json& root, const std::string& key, const std::string& type) {
  const auto part = root.find(key);
  if (part == root.end() || !part->is_object()) {
    return JsonFields(root, kWhere).Error(key, absl::StrCat("an object of type ", type));
  }
  R1_ASSIGN_OR_RETURN(const std::string found, TypeOf(*part, key));
  return found == type ? absl::OkStatus() : Unsupported(absl::StrCat(key, ".type"), found);
}

absl::Status ReadNormalizer(const json& root, TokenizerFile& file) {
  const json* part = JsonFields(root, kWhere).FindOrNull("normalizer");
  return part == nullptr ? absl::OkStatus() : ReadNormalizerPart(*part, "normalizer", file);
}

absl::Status ReadPreTokenizer(const json& root, TokenizerFile& file) {
  const JsonFields fields(root, kWhere);
  const json* part = fields.FindOrNull("pre_tokenizer");
  if (part == nullptr || !part->is_object()) {
    return fields.Error("pre_tokenizer", "an object of type ByteLevel or Sequence");
  }
  R1_ASSIGN_OR_RETURN(const std::string type, TypeOf(*part, "pre_tokenizer"));
  if (type == "ByteLevel") return ReadByteLevel(*part, "pre_tokenizer", file);
  if (type != "Sequence") return Unsupported("pre_tokenizer.type", type);
  bool at_end = false;
  R1_RETURN_IF_ERROR(ForEach(*part, "pre_tokenizer", "pretokenizers",
                             [&](const json& inner, const std::string& where) -> absl::Status {
                               R1_ASSIGN_OR_RETURN(const std::string inner_type,
                                                   TypeOf(inner, where));
                               if (at_end)
                                 return Unsupported(where + ": a part after ByteLevel", inner_type);
                               if (inner_type == "Split") return ReadSplit(inner, where, file);
                               if (inner_type != "ByteLevel")
                                 return Unsupported(where + ".type", inner_type);
                               at_end = true;
                               return ReadByteLevel(inner, where, file);
                             }));
  return at_end ? absl::OkStatus()
                : Unsupported("pre_tokenizer: a Sequence without ByteLevel", *part);
}

absl::Status ReadPostProcessor(const json& root, TokenizerFile& file) {
  const json* part = JsonFields(root, kWhere).FindOrNull("post_processor");
  return part == nullptr ? absl::OkStatus() : ReadPostProcessorPart(*part, "post_processor", file);
}

absl::Status CheckPostProcessorIds(const TokenizerFile& file) {
  for (const auto* ids : {&file.ids_before, &file.ids_after}) {
    for (const int32_t id : *ids) {
      if (static_cast<size_t>(id) < file.vocab.size()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(kWhere, ": post_processor: no token has the id ", id));
    }
  }
  return absl::OkStatus();
}

}  // namespace r1::tokenizer_file
