#include "common/tokenizer.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/added_tokens.h"
#include "common/bpe.h"
#include "common/byte_alphabet.h"
#include "common/filesystem.h"
#include "common/pre_tokenizer.h"
#include "common/tokenizer_config.h"
#include "common/tokenizer_file.h"
#include "common/unicode_nfc.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr size_t kTextBytesMax = size_t{1} << 30;
constexpr uint64_t kFileBytesMax = 200 << 20;

// What each token of the model stands for; nothing for a token with characters outside of the
// byte-level alphabet, which no text leads to.
std::vector<std::string> ModelTokenBytes(const TokenizerFile& file) {
  std::vector<std::string> tokens(static_cast<size_t>(file.model_vocab));
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (auto bytes = BytesOfToken(file.vocab[id])) tokens[id] = *std::move(bytes);
  }
  return tokens;
}

class BpeTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const std::string& json_text,
                                                           const std::string& config_text) {
    R1_ASSIGN_OR_RETURN(TokenizerFile file, ReadTokenizerFile(json_text));
    R1_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(file));
    auto tokenizer = std::make_unique<BpeTokenizer>(file, std::move(pre_tokenizer));
    R1_RETURN_IF_ERROR(tokenizer->AddAddedTokens(file));
    R1_ASSIGN_OR_RETURN(tokenizer->config_, ReadTokenizerConfig(config_text, *tokenizer));
    tokenizer->SetAround(std::move(file.ids_before), std::move(file.ids_after));
    tokenizer->json_ = json_text;
    return tokenizer;
  }

  BpeTokenizer(const TokenizerFile& file, PreTokenizer pre_tokenizer)
      : normalize_nfc_(file.normalize_nfc),
        pre_tokenizer_(std::move(pre_tokenizer)),
        bpe_(ModelTokenBytes(file), file.merges, file.ignore_merges) {
    texts_.reserve(file.vocab.size());
    ids_.reserve(file.vocab.size());
    for (const std::string& token : file.vocab) {
      ids_.emplace(token, vocab_size());
      texts_.push_back(ByteLevelToBytes(token));
    }
    special_.resize(texts_.size(), false);
  }

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text,
                                              bool parse_added_tokens) const override {
    R1_RETURN_IF_ERROR(CheckText(text));
    Work work;
    work.ids.reserve(text.size() / 3);
    if (!parse_added_tokens) {
      R1_RETURN_IF_ERROR(EncodeSegment(text, text, false, work));
      return std::move(work.ids);
    }
    for (const AddedTokens::Part& part : added_tokens_.Cut(text)) {
      if (part.id >= 0) {
        work.ids.push_back(part.id);
      } else {
        R1_RETURN_IF_ERROR(EncodeSegment(part.text, text, true, work));
      }
    }
    return std::move(work.ids);
  }

  absl::StatusOr<std::vector<int32_t>> EncodeWithContent(
      absl::string_view text, std::span<const TextRange> content) const override {
    R1_RETURN_IF_ERROR(CheckText(text));
    Work work;
    for (const MarkedPart& part : CutAround(text, content)) {
      if (part.id >= 0) {
        work.ids.push_back(part.id);
      } else {
        R1_RETURN_IF_ERROR(EncodeSegment(part.text, text, part.parse_added_tokens, work));
      }
    }
    return std::move(work.ids);
  }

  std::vector<int32_t> AddSpecialTokens(std::vector<int32_t> ids) const override {
    ids.insert(ids.begin(), ids_before_.begin(), ids_before_.end());
    ids.insert(ids.end(), ids_after_.begin(), ids_after_.end());
    return ids;
  }

  std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (skip_special && IsSpecial(id)) continue;
      absl::StrAppend(&bytes, TokenBytes(id));
    }
    return ReplaceInvalidUtf8(bytes);
  }

  absl::string_view TokenBytes(int32_t id) const override {
    return IsInVocabulary(id) ? texts_[static_cast<size_t>(id)] : absl::string_view();
  }
  bool IsSpecial(int32_t id) const override {
    return IsInVocabulary(id) && special_[static_cast<size_t>(id)];
  }

  int vocab_size() const override { return static_cast<int>(texts_.size()); }

  int32_t TokenId(absl::string_view token) const override {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }

  int32_t bos_id() const override { return config_.bos_id; }
  int32_t eos_id() const override { return config_.eos_id; }
  const std::string& json() const override { return json_; }
  std::string config_json() const override { return config_.json; }

 private:
  // What one call of Encode works with.
  struct Work {
    std::vector<int32_t> ids;
    PreTokenizer::Scratch pieces;
    Bpe::Scratch merging;
  };

  struct MarkedPart {
    absl::string_view text;
    int32_t id = -1;                  // of the added token that it is, or -1
    bool parse_added_tokens = false;  // of the normalized kind
  };
  // Added tokens outside of `content`, and the text between them. It is cut at the ranges as well
  // when the tokenizer has added tokens of the normalized kind, whose places are not known yet.
  std::vector<MarkedPart> CutAround(absl::string_view text,
                                    std::span<const TextRange> content) const {
    std::vector<MarkedPart> parts;
    const auto add = [&parts, this](absl::string_view part, bool from_content) {
      if (part.empty()) return;
      if (!parts.empty() && parts.back().id < 0 && normalized_added_tokens_.empty()) {
        const absl::string_view before = parts.back().text;
        parts.back().text = {before.data(), before.size() + part.size()};
      } else {
        parts.push_back({part, -1, !from_content});
      }
    };
    size_t at = 0;
    const auto add_template = [&](size_t end) {
      for (const AddedTokens::Part& part : added_tokens_.Cut(text.substr(at, end - at))) {
        if (part.id >= 0) {
          parts.push_back({part.text, part.id, false});
        } else {
          add(part.text, false);
        }
      }
    };
    for (const TextRange& range : content) {
      R1_CHECK(at <= range.begin);
      R1_CHECK(range.begin <= range.end);
      R1_CHECK(range.end <= text.size());
      add_template(range.begin);
      add(text.substr(range.begin, range.end - range.begin), true);
      at = range.end;
    }
    add_template(text.size());
    return parts;
  }

  bool IsInVocabulary(int32_t id) const { return id >= 0 && id < vocab_size(); }

  absl::Status AddAddedTokens(const TokenizerFile& file) {
    for (const AddedToken& added : file.added_tokens) {
      special_[static_cast<size_t>(added.id)] = added.special;
      const bool is_new = added.normalized
                              ? normalized_added_tokens_.Add(Normalized(added.text), added.id)
                              : added_tokens_.Add(added.text, added.id);
      if (is_new) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "tokenizer.json: added token ", Quoted(added.text), ": another one has the same text"));
    }
    return absl::OkStatus();
  }

  void SetAround(std::vector<int32_t> before, std::vector<int32_t> after) {
    if (config_.add_bos && (before.empty() || before[0] != config_.bos_id)) {
      before.insert(before.begin(), config_.bos_id);
    }
    // A model whose config names no BOS begins as its post-processor says.
    if (config_.bos_id < 0 && !config_.names_bos && before.size() == 1) config_.bos_id = before[0];
    ids_before_ = std::move(before);
    ids_after_ = std::move(after);
  }

  absl::Status CheckText(absl::string_view text) const {
    if (text.size() > kTextBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("a text of ", text.size(), " bytes; expected at most ", kTextBytesMax));
    }
    if (!normalize_nfc_ && !pre_tokenizer_.needs_utf8()) return absl::OkStatus();
    const size_t valid = ValidUtf8Prefix(text);
    if (valid == text.size()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("invalid UTF-8 at byte ", valid, " of the text"));
  }

  std::string Normalized(absl::string_view text) const {
    return normalize_nfc_ ? NormalizeNfc(text) : std::string(text);
  }

  // A part of `whole` without added tokens of the first kind.
  absl::Status EncodeSegment(absl::string_view segment, absl::string_view whole,
                             bool parse_added_tokens, Work& work) const {
    std::string normalized;
    if (normalize_nfc_) {
      normalized = NormalizeNfc(segment);
      segment = normalized;
      whole = normalized;
    }
    if (!parse_added_tokens || normalized_added_tokens_.empty()) {
      return EncodePieces(segment, whole, work);
    }
    for (const AddedTokens::Part& part : normalized_added_tokens_.Cut(segment)) {
      if (part.id >= 0) {
        work.ids.push_back(part.id);
      } else {
        R1_RETURN_IF_ERROR(EncodePieces(part.text, whole, work));
      }
    }
    return absl::OkStatus();
  }

  absl::Status EncodePieces(absl::string_view segment, absl::string_view whole, Work& work) const {
    R1_RETURN_IF_ERROR(pre_tokenizer_.Split(segment, work.pieces));
    for (const absl::string_view piece : work.pieces.pieces()) {
      const size_t encoded = bpe_.Encode(piece, work.merging, work.ids);
      if (encoded < piece.size()) return UnknownCharacter(piece, encoded, whole);
    }
    return absl::OkStatus();
  }

  // The character that piece[at] begins; its offset in `whole` if the piece is a part of that.
  absl::Status UnknownCharacter(absl::string_view piece, size_t at, absl::string_view whole) const {
    // The whole character when it is one, else the byte.
    size_t length = 1;
    while (length < 4 && at + length < piece.size() && (piece[at + length] & 0xC0) == 0x80) {
      ++length;
    }
    std::string where;
    if (pre_tokenizer_.keeps_text()) {
      where = absl::StrCat(" at byte ", piece.data() + at - whole.data(),
                           normalize_nfc_ ? " of the normalized text" : " of the text");
    }
    return absl::InvalidArgumentError(absl::StrCat("character ", Quoted(piece.substr(at, length)),
                                                   where, " is not in the vocabulary"));
  }

  std::string json_;
  TokenizerConfig config_;
  std::vector<std::string> texts_;  // by id: the bytes it decodes to
  std::vector<bool> special_;       // by id
  absl::flat_hash_map<std::string, int32_t> ids_;
  // Looked for in the text as it comes, then in the normalized rest of it.
  AddedTokens added_tokens_;
  AddedTokens normalized_added_tokens_;
  const bool normalize_nfc_;
  const PreTokenizer pre_tokenizer_;
  const Bpe bpe_;
  std::vector<int32_t> ids_before_;
  std::vector<int32_t> ids_after_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(
    const std::string& tokenizer_json, const std::string& tokenizer_config_json) {
  return BpeTokenizer::Create(tokenizer_json, tokenizer_config_json);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  FileSystem& files = RealFileSystem();
  const std::string path = JoinPath(folder, "tokenizer.json");
  R1_ASSIGN_OR_RETURN(const std::string tokenizer_json, files.Read(path, kFileBytesMax));
  const std::string config_path = JoinPath(folder, "tokenizer_config.json");
  std::string config_json;
  if (files.Exists(config_path)) {
    R1_ASSIGN_OR_RETURN(config_json, files.Read(config_path, kFileBytesMax));
  }
  auto tokenizer = Parse(tokenizer_json, config_json);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), folder);
  return tokenizer;
}

}  // namespace r1
