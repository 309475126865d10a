// The regular expressions of tokenizer.json's Split: pieces of a text, matched by PCRE2. The files
// are written for another engine, Oniguruma. So an expression is read and translated, construct by
// construct, and what could mean something else in PCRE2 is refused by name: look-behind, anchors,
// \d, \w, ., captures, lazy and possessive quantifiers, sets inside of sets.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

// An expression of the files' dialect as a PCRE2 expression of ASCII characters. InvalidArgument
// names the construct and its byte offset.
[[nodiscard]] absl::StatusOr<std::string> TranslateSplitPattern(absl::string_view expression);

// Immutable; thread-safe.
class SplitPattern {
 public:
  // InvalidArgument: not supported, malformed, too long, or it matches the empty text.
  [[nodiscard]] static absl::StatusOr<SplitPattern> Compile(absl::string_view expression);
  ~SplitPattern();
  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;

  // Of each text, appends the matches and, as pieces of their own, what lies between them (the
  // behavior "Isolated"): together they are the text. Texts are valid UTF-8; pieces point into
  // them. ResourceExhausted: an expression that backtracks too much on a text.
  [[nodiscard]] absl::Status Split(std::span<const absl::string_view> texts,
                                   std::vector<absl::string_view>& pieces) const;

 private:
  struct Code;
  explicit SplitPattern(std::unique_ptr<Code> code);

  std::unique_ptr<Code> code_;
};

}  // namespace r1
