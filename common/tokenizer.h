// Text <-> token ids, read from a Hugging Face tokenizer.json: byte-level BPE with the splits,
// normalization, added tokens and post-processing of the DeepSeek-V3/R1, Qwen2, Qwen3 and Llama-3
// families. Ids and texts equal those of Hugging Face's tokenizers; a feature that is not supported
// is refused by name.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable after loading; thread-safe.
class Tokenizer {
 public:
  // From the text of tokenizer.json and, when the model has one, of tokenizer_config.json, which
  // names bos and eos. InvalidArgument names the unsupported feature or the malformed key.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(
      const std::string& tokenizer_json, const std::string& tokenizer_config_json = "");

  // From a model's folder: its tokenizer.json and, when there is one, tokenizer_config.json. Errors
  // begin with the path; NotFound when there is no tokenizer.json.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& folder);

  // tokenizer.json of a built-in: "chars" (the 32 characters of the built-in tasks) or "bytes".
  [[nodiscard]] static absl::StatusOr<std::string> BuiltinJson(const std::string& name);

  virtual ~Tokenizer() = default;

  // Ids of the text alone (see AddSpecialTokens); added tokens in it ("<think>") become their ids
  // when `parse_added_tokens`, and are text like any other when not. InvalidArgument names a
  // character that the vocabulary lacks, and its byte offset (Hugging Face's library would leave it
  // out in silence), or invalid UTF-8 where the tokenizer splits or normalizes characters.
  [[nodiscard]] virtual absl::StatusOr<std::vector<int32_t>> Encode(
      absl::string_view text, bool parse_added_tokens = true) const = 0;
  // The same, where added tokens count unless they touch one of the ranges `content` (sorted,
  // disjoint): what somebody else wrote there is never read as one. Otherwise the text is not cut
  // at the ranges, so that without added tokens in them the ids are those of Encode.
  [[nodiscard]] virtual absl::StatusOr<std::vector<int32_t>> EncodeWithContent(
      absl::string_view text, std::span<const TextRange> content) const = 0;
  // The ids of a whole text with what the files put around it: BOS in front for Llama-3, nothing
  // for Qwen. Rendered chat prompts hold theirs already.
  virtual std::vector<int32_t> AddSpecialTokens(std::vector<int32_t> ids) const = 0;
  // Text of the ids; ids outside the vocabulary decode to nothing, invalid UTF-8 to U+FFFD. Special
  // tokens (<bos>, <eos>, <pad>) are left out when `skip_special`. For text that grows, see
  // IncrementalDecoder.
  virtual std::string Decode(const std::vector<int32_t>& ids, bool skip_special = false) const = 0;
  // What one id adds to the text, often a part of a character; empty for an id that no token has.
  virtual absl::string_view TokenBytes(int32_t id) const = 0;
  // Whether Decode leaves the id out on request.
  virtual bool IsSpecial(int32_t id) const = 0;

  virtual int vocab_size() const = 0;
  // -1 when the vocabulary has no such token.
  virtual int32_t TokenId(absl::string_view token) const = 0;
  // The tokens that tokenizer_config.json names; where it is silent, the added tokens "<bos>" and
  // "<eos>", and for bos the one that the post-processor puts in front. -1 when there is none.
  virtual int32_t bos_id() const = 0;
  virtual int32_t eos_id() const = 0;
  // The texts it was parsed from, and a matching tokenizer_config.json where there was none;
  // written into checkpoints.
  virtual const std::string& json() const = 0;
  virtual std::string config_json() const = 0;
};

}  // namespace r1
