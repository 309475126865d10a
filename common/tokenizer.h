// Text <-> token ids, read from a Hugging Face tokenizer.json. Today: byte-level BPE vocabularies
// without merges (a byte a token) and added tokens, which is what the built-in tokenizers are; any
// other feature is refused by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

// Immutable after loading; thread-safe.
class Tokenizer {
 public:
  // From the text of tokenizer.json. InvalidArgument names the unsupported feature or the malformed
  // key.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(
      const std::string& tokenizer_json);

  // tokenizer.json of a built-in: "chars" (the 32 characters of the built-in tasks) or "bytes".
  [[nodiscard]] static absl::StatusOr<std::string> BuiltinJson(const std::string& name);

  virtual ~Tokenizer() = default;

  // Ids of the text; added tokens in it ("<think>") become their ids when `parse_added_tokens`.
  // InvalidArgument names a character that the vocabulary lacks, and its byte offset (Hugging
  // Face's library would leave it out in silence).
  [[nodiscard]] virtual absl::StatusOr<std::vector<int32_t>> Encode(
      absl::string_view text, bool parse_added_tokens = true) const = 0;
  // Text of the ids; ids outside the vocabulary decode to nothing, invalid UTF-8 to U+FFFD. Special
  // tokens (<bos>, <eos>, <pad>) are left out when `skip_special`.
  virtual std::string Decode(const std::vector<int32_t>& ids, bool skip_special = false) const = 0;

  virtual int vocab_size() const = 0;
  // -1 when the vocabulary has no such token.
  virtual int32_t TokenId(absl::string_view token) const = 0;
  // The added tokens "<bos>" and "<eos>"; -1 when there is none.
  virtual int32_t bos_id() const = 0;
  virtual int32_t eos_id() const = 0;
  // The text it was parsed from, and a matching tokenizer_config.json; written into checkpoints.
  virtual const std::string& json() const = 0;
  virtual std::string config_json() const = 0;
};

}  // namespace r1
