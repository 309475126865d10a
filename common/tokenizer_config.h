// tokenizer_config.json of Hugging Face: which tokens begin and end a text. Leaves out what
// concerns Python classes, and the chat template.
#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"
#include "common/tokenizer.h"

namespace r1 {

struct TokenizerConfig {
  std::string json;     // the file's text, or one that says the same
  int32_t bos_id = -1;  // -1: none
  int32_t eos_id = -1;
  bool names_bos = false;  // bos_token is a key of the file, be it null
  bool add_bos = false;    // a text of its own begins with bos
};

// An empty text stands for a folder without the file: "<bos>" and "<eos>" then, where the
// vocabulary has them. InvalidArgument: a key of another type, a token that the vocabulary lacks,
// add_eos_token, or add_bos_token without a bos_token.
[[nodiscard]] absl::StatusOr<TokenizerConfig> ReadTokenizerConfig(const std::string& text,
                                                                  const Tokenizer& tokenizer);

}  // namespace r1
