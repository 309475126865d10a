#include "common/tokenizer_file.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/tokenizer_file_parts.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::json;
using tokenizer_file::ExpectKeys;
using tokenizer_file::ExpectOneOf;
using tokenizer_file::kWhere;
using tokenizer_file::Unsupported;

constexpr int kVocabMax = 1 << 24;

// Keys point into the JSON value.
using TokenIds = absl::flat_hash_map<absl::string_view, int32_t>;

absl::Status CheckModelFeatures(const json& model) {
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
  for (const char* key : {"fuse_unk", "byte_fallback"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(model, "model.", key, {false}));
  }
  return absl::OkStatus();
}

// Token -> id, each id once.
absl::StatusOr<TokenIds> ReadVocab(const json& model) {
  const JsonFields fields(model, absl::StrCat(kWhere, ": model"));
  const json* vocab = fields.FindOrNull("vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return fields.Error("vocab", "an object of token: id");
  }
  const JsonFields entries(*vocab, absl::StrCat(kWhere, ": model.vocab"));
  TokenIds ids;
  ids.reserve(vocab->size());
  absl::flat_hash_map<int32_t, absl::string_view> tokens;
  tokens.reserve(vocab->size());
  for (const auto& [token, unused] : vocab->items()) {
    R1_ASSIGN_OR_RETURN(const int64_t wide, entries.Integer(token, {0, kVocabMax - 1}));
    const auto id = static_cast<int32_t>(wide);
    ids.emplace(token, id);
    const auto [there, is_new] = tokens.emplace(id, token);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(kWhere, ": model.vocab: id ", id,
                                                     " belongs to both ", Quoted(there->second),
                                                     " and ", Quoted(token)));
    }
  }
  return ids;
}

// The two halves of a merge: ["a", "b"], or "a b" in older files.
absl::StatusOr<std::pair<absl::string_view, absl::string_view>> MergeHalves(const json& merge,
                                                                            size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair<absl::string_view, absl::string_view>(merge[0].get_ref<const std::string&>(),
                                                           merge[1].get_ref<const std::string&>());
  }
  if (merge.is_string()) {
    const absl::string_view text = merge.get_ref<const std::string&>();
    const size_t blank = text.find(' ');
    if (blank != text.npos && text.find(' ', blank + 1) == text.npos) {
      return std::pair(text.substr(0, blank), text.substr(blank + 1));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      kWhere, ": model.merges[", index, "]: expected two tokens, found ", DescribeJson(merge)));
}

absl::StatusOr<std::vector<BpeMerge>> ReadMerges(const json& model, const TokenIds& ids) {
  const JsonFields fields(model, absl::StrCat(kWhere, ": model"));
  const json* list = fields.FindOrNull("merges");
  if (list == nullptr || !list->is_array()) return fields.Error("merges", "an array");
  std::vector<BpeMerge> merges;
  merges.reserve(list->size());
  absl::flat_hash_map<std::pair<int32_t, int32_t>, size_t> ranks;
  ranks.reserve(list->size());
  for (size_t i = 0; i < list->size(); ++i) {
    R1_ASSIGN_OR_RETURN(const auto halves, MergeHalves((*list)[i], i));
    const auto& [left, right] = halves;
    const std::string joined = absl::StrCat(left, right);
    const std::array<absl::string_view, 3> tokens = {left, right, joined};
    std::array<int32_t, 3> found;
    for (size_t j = 0; j < tokens.size(); ++j) {
      const auto id = ids.find(tokens[j]);
      if (id == ids.end()) {
        return absl::InvalidArgumentError(absl::StrCat(kWhere, ": model.merges[", i, "]: token ",
                                                       Quoted(tokens[j]),
                                                       " is not in the vocabulary"));
      }
      found[j] = id->second;
    }
    const auto [earlier, is_new] = ranks.emplace(std::pair(found[0], found[1]), i);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(
          kWhere, ": model.merges[", i, "]: the same pair as model.merges[", earlier->second, "]"));
    }
    merges.push_back({found[0], found[1], found[2]});
  }
  return merges;
}

absl::StatusOr<AddedToken> ReadAddedToken(const json& entry, size_t index) {
  const std::string path = absl::StrCat("added_tokens[", index, "].");
  if (!entry.is_object()) return Unsupported(path, entry);
  R1_RETURN_IF_ERROR(ExpectKeys(
      entry, path, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(entry, path, key, {false}));
  }
  const JsonFields fields(entry, absl::StrCat(kWhere, ": added_tokens[", index, "]"));
  AddedToken token;
  R1_ASSIGN_OR_RETURN(token.text, fields.String("content"));
  if (token.text.empty()) return fields.Error("content", "text");
  R1_ASSIGN_OR_RETURN(const int64_t id, fields.Integer("id", {0, kVocabMax - 1}));
  token.id = static_cast<int32_t>(id);
  R1_ASSIGN_OR_RETURN(token.special, fields.Bool("special", false));
  R1_ASSIGN_OR_RETURN(token.normalized, fields.Bool("normalized", false));
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

// All tokens by id. Ids must have no holes, and added tokens that the model lacks must follow the
// model's in order: Hugging Face's library numbers them so, whatever ids stand in the file.
absl::StatusOr<std::vector<std::string>> JoinTokens(const TokenIds& ids,
                                                    const std::vector<AddedToken>& added_tokens) {
  const auto token_error = [](auto... parts) {
    return absl::InvalidArgumentError(absl::StrCat(kWhere, ": ", parts...));
  };
  std::vector<absl::string_view> tokens(ids.size());
  int32_t beyond = -1;
  for (const auto& [token, id] : ids) {
    if (static_cast<size_t>(id) < ids.size()) tokens[static_cast<size_t>(id)] = token;
    beyond = std::max(beyond, id);
  }
  const auto hole = std::find_if(tokens.begin(), tokens.end(),
                                 [](absl::string_view token) { return token.data() == nullptr; });
  if (hole != tokens.end()) {
    return token_error("model.vocab: no token has the id ", hole - tokens.begin(),
                       ", but there is one of id ", beyond, "; holes are not supported");
  }
  absl::flat_hash_map<absl::string_view, int32_t> extra;
  for (const AddedToken& added : added_tokens) {
    const auto in_model = ids.find(added.text);
    if (in_model != ids.end() && in_model->second != added.id) {
      return token_error("token ", Quoted(added.text), " has two ids, ", in_model->second, " and ",
                         added.id);
    }
    if (in_model != ids.end()) continue;
    const auto next = static_cast<int32_t>(tokens.size());
    if (added.id < next) {
      return token_error("added token ", Quoted(added.text), ": its id ", added.id, " belongs to ",
                         Quoted(tokens[static_cast<size_t>(added.id)]));
    }
    if (added.id > next) {
      return token_error("added token ", Quoted(added.text), ": expected the id ", next,
                         ", the first one free, found ", added.id);
    }
    const auto [there, is_new] = extra.emplace(added.text, added.id);
    if (!is_new) {
      return token_error("token ", Quoted(added.text), " has two ids, ", there->second, " and ",
                         added.id);
    }
    tokens.push_back(added.text);
  }
  return std::vector<std::string>(tokens.begin(), tokens.end());
}

}  // namespace

absl::StatusOr<TokenizerFile> ReadTokenizerFile(absl::string_view tokenizer_json) {
  R1_ASSIGN_OR_RETURN(const json root, ParseJson(tokenizer_json, kWhere));
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kWhere, ": expected an object, found ", DescribeJson(root)));
  }
  R1_RETURN_IF_ERROR(ExpectKeys(root, "",
                                {"version", "truncation", "padding", "added_tokens", "normalizer",
                                 "pre_tokenizer", "post_processor", "decoder", "model"}));
  R1_RETURN_IF_ERROR(ExpectOneOf(root, "", "version", {"1.0"}));
  for (const char* key : {"truncation", "padding"}) {
    R1_RETURN_IF_ERROR(ExpectOneOf(root, "", key, {}));
  }
  TokenizerFile file;
  R1_RETURN_IF_ERROR(tokenizer_file::ReadNormalizer(root, file));
  R1_RETURN_IF_ERROR(tokenizer_file::ReadPreTokenizer(root, file));
  R1_RETURN_IF_ERROR(tokenizer_file::ReadPostProcessor(root, file));
  R1_RETURN_IF_ERROR(tokenizer_file::ExpectType(root, "decoder", "ByteLevel"));
  R1_RETURN_IF_ERROR(ExpectKeys(root["decoder"], "decoder.",
                                {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  R1_RETURN_IF_ERROR(tokenizer_file::ExpectType(root, "model", "BPE"));
  const json& model = root["model"];
  R1_RETURN_IF_ERROR(CheckModelFeatures(model));
  R1_ASSIGN_OR_RETURN(
      file.ignore_merges,
      JsonFields(model, absl::StrCat(kWhere, ": model")).Bool("ignore_merges", false));
  R1_ASSIGN_OR_RETURN(const TokenIds ids, ReadVocab(model));
  file.model_vocab = static_cast<int>(ids.size());
  R1_ASSIGN_OR_RETURN(file.merges, ReadMerges(model, ids));
  R1_ASSIGN_OR_RETURN(file.added_tokens, ReadAddedTokens(root));
  R1_ASSIGN_OR_RETURN(file.vocab, JoinTokens(ids, file.added_tokens));
  R1_RETURN_IF_ERROR(tokenizer_file::CheckPostProcessorIds(file));
  return file;
}

}  // namespace r1
