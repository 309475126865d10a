// Cuts a text into the pieces that byte-pair encoding keeps apart: one Split after another, then
// what ByteLevel does with spaces and words.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/split_pattern.h"
#include "common/tokenizer_file.h"

namespace r1 {

// Immutable; thread-safe.
class PreTokenizer {
 public:
  // InvalidArgument: an expression that is not supported.
  [[nodiscard]] static absl::StatusOr<PreTokenizer> Create(const TokenizerFile& file);

  // Memory of one call after another; of one thread. Owns what the pieces point to when they are
  // not parts of the text.
  class Scratch {
   public:
    const std::vector<absl::string_view>& pieces() const { return pieces_; }

   private:
    friend class PreTokenizer;
    std::vector<absl::string_view> pieces_;
    std::vector<absl::string_view> next_;
    std::deque<std::string> spaced_;
  };

  // The pieces of the text, in `scratch`, until the next call. The text must be valid UTF-8 if
  // needs_utf8. ResourceExhausted: see SplitPattern.
  [[nodiscard]] absl::Status Split(absl::string_view text, Scratch& scratch) const;

  bool needs_utf8() const { return !splits_.empty() || last_split_.has_value(); }
  // Whether the pieces, joined, are the text.
  bool keeps_text() const { return !add_prefix_space_; }

 private:
  std::vector<SplitPattern> splits_;
  bool add_prefix_space_ = false;
  std::optional<SplitPattern> last_split_;
};

}  // namespace r1
