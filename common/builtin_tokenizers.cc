// tokenizer.json of the built-in tokenizers: byte-level BPE vocabularies without merges, a byte a
// token, and a few added tokens.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/byte_alphabet.h"
#include "common/nearest_name.h"
#include "common/tokenizer.h"
#include "common/utf8.h"

namespace r1 {
namespace {

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
