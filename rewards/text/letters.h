// What the text rewards need to know of Unicode: white space, lower case, and the script of a
// letter.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace r1::rewards {

// As Python's str.isspace, so that words are what str.split() makes of a text.
bool IsSpace(char32_t code);

// The text with the simple lower case of every character, and every invalid part as U+FFFD.
// DEVIATION from Python's str.lower: "İ" loses its dot, and a sigma at the end of a word is no
// special case; both would need the neighbours.
std::string LowerText(absl::string_view text);

enum class Script {
  kNone,  // no letter: digits, punctuation, symbols, space
  kMark,  // belongs to the letter before it
  kLatin,
  kGreek,
  kCyrillic,
  kHebrew,
  kArabic,
  kDevanagari,
  kThai,
  kHangul,
  kKana,
  kHan,
  kOther,  // a letter of none of these
};
Script ScriptOf(char32_t code);

}  // namespace r1::rewards
