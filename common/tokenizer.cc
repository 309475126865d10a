#include "common/tokenizer.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/byte_alphabet.h"
#include "common/json.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::json;

constexpr char kWhere[] = "tokenizer.json";
constexpr int kVocabMax = 1 << 24;

struct AddedToken {
  std::string text;
  int32_t id = -1;
  bool special = false;
};

absl::Status Unsupported(absl::string_view feature, const json& found) {
  return absl::InvalidArgumentError(
      absl::StrCat(kWhere, ": ", feature, ": not supported: ", DescribeJson(found)));
}

// InvalidArgument unless the value is absent or one of those given; null is always given.
absl::Status ExpectOneOf(const json& object, const std::string& path, const std::string& key,
                         const std::vector<json>& supported) {
  const auto value = object.find(key);
  if (value == object.end() || value->is_null()) return absl::OkStatus();
  if (std::find(supported.begin(), supported.end(), *value) != supported.end()) {
    return absl::OkStatus();
  }
  return Unsupported(path + key, *value);
}

// Every key must be one that the checks around the call look at.
absl::Status ExpectKeys(const json& object, const std::string& path,
                        const std::vector<std::string>& known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Unsupported(path + Quoted(key), value);
    }
  }
  return absl::OkStatus();
}

// An object whose "type" is the one supported, or InvalidArgument naming the type that was found.
absl::Status ExpectType(const json& root, const std::string& key, const std::string& type) {
  const auto part = root.find(key);
  if (part == root.end() || !part->is_object()) {
    return JsonFields(root, kWhere).Error(key, absl::StrCat("an object of type ", type));
  }
  const auto found = part->find("type");
  if (found == part->end() || *found != type) {
    return Unsupported(absl::StrCat(key, ".type"), found == part->end() ? json() : *found);
  }
  return absl::OkStatus();
}

// Refuses, by name, whatever would make another tokenizer of it than bytes plus added tokens.
absl::Status RefuseUnsupported(const json& root) {
  R1_RETURN_IF_ERROR(ExpectKeys(root, "",
                                {"version", "truncation", "padding", "added_tokens", "normalizer",
                                 "pre_tokenizer", "post_processor", "decoder", "model"}));
  R1_RETURN_IF_ERROR(ExpectOneOf(root, "", "version", {"1.0"}));
  for (const char* key : {"truncation", "padding", "normalizer", "post_processor"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(root, "", key, {}));
  }

  R1_RETURN_IF_ERROR(ExpectType(root, "pre_tokenizer", "ByteLevel"));
  const json& pre_tokenizer = root["pre_tokenizer"];
  R1_RETURN_IF_ERROR(ExpectKeys(pre_tokenizer, "pre_tokenizer.",
                                {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  // Hugging Face's defaults for missing keys are true.
  for (const char* key : {"add_prefix_space", "use_regex"}) {
    R1_ASSIGN_OR_RETURN(const bool value,
                        JsonFields(pre_tokenizer, "tokenizer.json: pre_tokenizer").Bool(key, true));
    if (value) return Unsupported(absl::StrCat("pre_tokenizer.", key), value);
  }

  R1_RETURN_IF_ERROR(ExpectType(root, "decoder", "ByteLevel"));

  R1_RETURN_IF_ERROR(ExpectType(root, "model", "BPE"));
  const json& model = root["model"];
  R1_RETURN_IF_ERROR(
      ExpectKeys(model, "model.",
                 {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  for (const char* key : {"dropout", "unk_token"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(model, "model.", key, {}));
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(model, "model.", key, {""}));
  }
  for (const char* key : {"fuse_unk", "byte_fallback", "ignore_merges"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(model, "model.", key, {false}));
  }
  return ExpectOneOf(model, "model.", "merges", {json::array()});
}

absl::StatusOr<std::map<int32_t, std::string>> ReadVocab(const json& model) {
  const JsonFields fields(model, "tokenizer.json: model");
  const json* vocab = fields.FindOrNull("vocab");
  if (vocab == nullptr || !vocab->is_object())
    return fields.Error("vocab", "an object of token: id");
  const JsonFields entries(*vocab, "tokenizer.json: model.vocab");
  std::map<int32_t, std::string> tokens;
  for (const auto& [token, unused] : vocab->items()) {
    R1_ASSIGN_OR_RETURN(const int64_t id, entries.Integer(token, {0, kVocabMax - 1}));
    const auto [there, added] = tokens.emplace(static_cast<int32_t>(id), token);
    if (!added) {
      return absl::InvalidArgumentError(absl::StrCat(kWhere, ": model.vocab: id ", id,
                                                     " belongs to both ", Quoted(there->second),
                                                     " and ", Quoted(token)));
    }
  }
  return tokens;
}

absl::StatusOr<AddedToken> ReadAddedToken(const json& entry, size_t index) {
  const std::string path = absl::StrCat("added_tokens[", index, "].");
  if (!entry.is_object()) return Unsupported(path, entry);
  R1_RETURN_IF_ERROR(ExpectKeys(
      entry, path, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(entry, path, key, {false}));
  }
  const JsonFields fields(entry, absl::StrCat(kWhere, ": added_tokens[", index, "]"));
  AddedToken token;
  R1_ASSIGN_OR_RETURN(token.text, fields.String("content"));
  if (token.text.empty()) return fields.Error("content", "text");
  R1_ASSIGN_OR_RETURN(const int64_t id, fields.Integer("id", {0, kVocabMax - 1}));
  token.id = static_cast<int32_t>(id);
  R1_ASSIGN_OR_RETURN(token.special, fields.Bool("special", false));
  return token;
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const json& root) {
  std::vector<AddedToken> tokens;
  const JsonFields fields(root, kWhere);
  const json* entries = fields.FindOrNull("added_tokens");
  if (entries == nullptr) return tokens;
  if (!entries->is_array()) return fields.Error("added_tokens", "an array");
  for (size_t i = 0; i < entries->size(); ++i) {
    R1_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken((*entries)[i], i));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

class ByteTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(std::string json_text,
                                                           std::map<int32_t, std::string> tokens,
                                                           std::vector<AddedToken> added_tokens) {
    auto tokenizer = std::make_unique<ByteTokenizer>();
    tokenizer->MapBytes(tokens);
    for (const AddedToken& added : added_tokens) {
      const auto [there, is_new] = tokens.emplace(added.id, added.text);
      if (!is_new && there->second != added.text) {
        return absl::InvalidArgumentError(absl::StrCat(kWhere, ": added token ", Quoted(added.text),
                                                       ": its id ", added.id, " belongs to ",
                                                       Quoted(there->second)));
      }
    }
    for (const auto& [id, token] : tokens) {
      R1_RETURN_IF_ERROR(tokenizer->AddToken(id, token));
    }
    for (AddedToken& added : added_tokens) {
      tokenizer->special_[static_cast<size_t>(added.id)] = added.special;
      tokenizer->added_by_first_byte_[FirstByte(added.text)].push_back(std::move(added));
    }
    // The longest token wins, so it is tried first.
    for (auto& candidates : tokenizer->added_by_first_byte_) {
      std::stable_sort(
          candidates.begin(), candidates.end(),
          [](const AddedToken& a, const AddedToken& b) { return a.text.size() > b.text.size(); });
    }
    tokenizer->json_ = std::move(json_text);
    return tokenizer;
  }

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              bool parse_added_tokens) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      if (parse_added_tokens) {
        if (const AddedToken* added = AddedTokenOrNull(text.substr(at))) {
          ids.push_back(added->id);
          at += added->text.size();
          continue;
        }
      }
      const int32_t id = byte_ids_[FirstByte(text.substr(at))];
      if (id < 0) return UnknownCharacter(text, at);
      ids.push_back(id);
      ++at;
    }
    return ids;
  }

  std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) continue;
      if (skip_special && special_[static_cast<size_t>(id)]) continue;
      bytes += texts_[static_cast<size_t>(id)];
    }
    return ReplaceInvalidUtf8(bytes);
  }

  int vocab_size() const override { return static_cast<int>(texts_.size()); }

  int32_t TokenId(absl::string_view token) const override {
    const auto found = ids_.find(std::string(token));
    return found == ids_.end() ? -1 : found->second;
  }

  int32_t bos_id() const override { return TokenId("<bos>"); }
  int32_t eos_id() const override { return TokenId("<eos>"); }
  const std::string& json() const override { return json_; }

  std::string config_json() const override {
    nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                     {"clean_up_tokenization_spaces", false}};
    for (const char* name : {"bos", "eos", "pad"}) {
      const std::string token = absl::StrCat("<", name, ">");
      if (TokenId(token) >= 0) config[absl::StrCat(name, "_token")] = token;
    }
    return absl::StrCat(config.dump(2), "\n");
  }

 private:
  static size_t FirstByte(absl::string_view text) { return static_cast<unsigned char>(text[0]); }

  // Without merges, a byte's token is the one of its character in the byte-level alphabet; longer
  // tokens of the model's vocabulary can be decoded but not reached.
  void MapBytes(const std::map<int32_t, std::string>& model_tokens) {
    std::map<absl::string_view, int32_t> ids;
    for (const auto& [id, token] : model_tokens) ids.emplace(token, id);
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = ids.find(ByteLevelCharacter(static_cast<char>(byte)));
      byte_ids_[static_cast<size_t>(byte)] = found == ids.end() ? -1 : found->second;
    }
  }

  absl::Status AddToken(int32_t id, const std::string& token) {
    if (id != vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat(kWhere, ": no token has the id ", vocab_size(),
                                                     ", but there is one of id ", id,
                                                     "; holes are not supported"));
    }
    const auto [there, is_new] = ids_.emplace(token, id);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(kWhere, ": token ", Quoted(token),
                                                     " has two ids, ", there->second, " and ", id));
    }
    texts_.push_back(ByteLevelToBytes(token));
    special_.push_back(false);
    return absl::OkStatus();
  }

  const AddedToken* AddedTokenOrNull(absl::string_view text) const {
    for (const AddedToken& added : added_by_first_byte_[FirstByte(text)]) {
      if (absl::StartsWith(text, added.text)) return &added;
    }
    return nullptr;
  }

  static absl::Status UnknownCharacter(absl::string_view text, size_t at) {
    // The whole character when it is one, else the byte.
    size_t length = 1;
    while (length < 4 && at + length < text.size() && (text[at + length] & 0xC0) == 0x80) {
      ++length;
    }
    return absl::InvalidArgumentError(absl::StrCat("character ", Quoted(text.substr(at, length)),
                                                   " at byte ", at,
                                                   " of the text is not in the vocabulary"));
  }

  std::string json_;
  std::vector<std::string> texts_;  // by id: the bytes it decodes to
  std::vector<bool> special_;       // by id
  std::unordered_map<std::string, int32_t> ids_;
  std::array<int32_t, 256> byte_ids_;
  std::array<std::vector<AddedToken>, 256> added_by_first_byte_;
};

// <pad> <bos> <eos> are special: left out of decoded text on request. The tags are content.
nlohmann::ordered_json BuiltinAddedTokens() {
  nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
  for (const char* content :
       {"<pad>", "<bos>", "<eos>", "<think>", "</think>", "<answer>", "</answer>"}) {
    const size_t id = tokens.size();
    tokens.push_back({{"id", id},
                      {"content", content},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", id < 3}});
  }
  return tokens;
}

std::string BuiltinTokenizerJson(absl::string_view bytes) {
  const nlohmann::ordered_json added = BuiltinAddedTokens();
  nlohmann::ordered_json vocab = nlohmann::ordered_json::object();
  for (const auto& token : added) vocab[token["content"].get<std::string>()] = token["id"];
  for (const char byte : bytes) {
    const size_t id = vocab.size();
    vocab[std::string(ByteLevelCharacter(byte))] = id;
  }
  const nlohmann::ordered_json byte_level = {{"type", "ByteLevel"},
                                             {"add_prefix_space", false},
                                             {"trim_offsets", true},
                                             {"use_regex", false}};
  const nlohmann::ordered_json root = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", nlohmann::ordered_json::array()}}},
  };
  return absl::StrCat(root.dump(2), "\n");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(const std::string& tokenizer_json) {
  R1_ASSIGN_OR_RETURN(const nlohmann::json root, ParseJson(tokenizer_json, kWhere));
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kWhere, ": expected an object, found ", DescribeJson(root)));
  }
  R1_RETURN_IF_ERROR(RefuseUnsupported(root));
  R1_ASSIGN_OR_RETURN(auto tokens, ReadVocab(root["model"]));
  R1_ASSIGN_OR_RETURN(auto added_tokens, ReadAddedTokens(root));
  return ByteTokenizer::Create(tokenizer_json, std::move(tokens), std::move(added_tokens));
}

absl::StatusOr<std::string> Tokenizer::BuiltinJson(const std::string& name) {
  if (name == "chars") return BuiltinTokenizerJson("0123456789+-=:\nabcdefghij");
  if (name == "bytes") {
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
    return BuiltinTokenizerJson(bytes);
  }
  const std::vector<std::string> known = {"bytes", "chars"};
  return absl::NotFoundError(absl::StrCat("tokenizer: expected one of ", absl::StrJoin(known, ", "),
                                          ", found ", Quoted(name), DidYouMean(name, known)));
}

}  // namespace r1
