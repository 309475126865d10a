// Decodes ids as they are generated. What is returned, joined, equals Tokenizer::Decode of all ids.
#pragma once

#include <cstdint>
#include <string>

#include "common/tokenizer.h"

namespace r1 {

// Not thread-safe. Borrows the tokenizer.
class IncrementalDecoder {
 public:
  explicit IncrementalDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that this id completes, often empty: a character whose bytes are not all there yet is
  // held back.
  std::string Append(int32_t id);
  // The end of the text: U+FFFD if a character was never completed. Ready for another text then.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_;
  std::string held_;  // the beginning of one character
};

}  // namespace r1
