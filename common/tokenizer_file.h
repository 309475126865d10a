// tokenizer.json of Hugging Face as plain data: byte-level BPE and what stands around it. Reading
// refuses, by name, every feature that it does not understand; nothing is approximated.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/bpe.h"
#include "common/status.h"

namespace r1 {

struct AddedToken {
  std::string text;
  int32_t id = -1;
  bool special = false;
  // Looked for in the normalized text instead of the text as it came.
  bool normalized = false;
};

struct TokenizerFile {
  std::vector<std::string> vocab;  // of the model and the added tokens: as written, by id
  int model_vocab = 0;             // so many ids are the model's, the first ones
  std::vector<BpeMerge> merges;    // in order of rank
  bool ignore_merges = false;
  std::vector<AddedToken> added_tokens;
  bool normalize_nfc = false;
  // Applied one after another, each to the pieces of the one before.
  std::vector<std::string> split_expressions;
  bool add_prefix_space = false;  // to every piece, after these
  bool split_like_gpt2 = false;   // and then split once more
  // What the post-processor puts around a text of its own.
  std::vector<int32_t> ids_before;
  std::vector<int32_t> ids_after;
};

// InvalidArgument names the unsupported feature or the malformed key.
[[nodiscard]] absl::StatusOr<TokenizerFile> ReadTokenizerFile(absl::string_view tokenizer_json);

}  // namespace r1
