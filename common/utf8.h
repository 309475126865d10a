// UTF-8: validity, repair, and text that is safe to show in an error message.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace r1 {

// Length of the longest valid UTF-8 prefix; text.size() when all of it is valid.
size_t ValidUtf8Prefix(absl::string_view text);

inline bool IsValidUtf8(absl::string_view text) { return ValidUtf8Prefix(text) == text.size(); }

// Length of the end of the text that begins a character and lacks bytes of it: 0 to 3. More bytes
// could complete it; other invalid bytes could not be mended.
size_t UnfinishedUtf8Suffix(absl::string_view text);

// The text with one U+FFFD for each maximal invalid part (the WHATWG rule, as in Rust's
// from_utf8_lossy).
std::string ReplaceInvalidUtf8(absl::string_view text);

// Takes the first character off a text that is not empty; U+FFFD for a maximal invalid part.
char32_t TakeCodePoint(absl::string_view& text);

// The text in double quotes for an error message: everything but printable ASCII is escaped, and
// text after `bytes_max` is cut, so that hostile input can neither break a log line nor fill it.
std::string Quoted(absl::string_view text, size_t bytes_max = 80);

}  // namespace r1
