// The text of a sample while its tokens come in: decoded as it grows and cut in front of the first
// stop string, wherever tokens begin and end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/incremental_decoder.h"
#include "common/tokenizer.h"

namespace r1 {

// Not thread-safe. Borrows the tokenizer and the stop strings, none of which is empty.
class GrowingText {
 public:
  GrowingText(const Tokenizer& tokenizer, const std::vector<std::string>& stops)
      : decoder_(tokenizer, /*skip_special=*/true), stops_(stops) {}

  // Whether the text has reached a stop string; nothing is added to it afterwards.
  bool Append(int32_t id);
  // No more tokens come: a character that was never completed becomes U+FFFD.
  void Finish();

  // Without special tokens, and without the stop string.
  const std::string& text() const { return text_; }
  // What has been added since the last call and can no longer be the beginning of a stop string.
  std::string TakeSettled();

 private:
  void Add(const std::string& more);

  IncrementalDecoder decoder_;
  const std::vector<std::string>& stops_;
  std::string text_;
  size_t taken_ = 0;  // bytes of text_
  bool complete_ = false;
};

}  // namespace r1
