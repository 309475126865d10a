#include "common/utf8.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

struct Sequence {
  size_t length;  // at least 1: of a character, or of the maximal part that could have begun one
  bool valid;
};

// The sequence at the front of a non-empty text, after table 3-7 of the Unicode standard: the lead
// byte fixes the length and the range of the second byte, which excludes overlong forms, surrogates
// and what lies above U+10FFFF.
Sequence FirstSequence(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (i >= text.size() || byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

}  // namespace

size_t ValidUtf8Prefix(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Sequence sequence = FirstSequence(text.substr(at));
    if (!sequence.valid) return at;
    at += sequence.length;
  }
  return at;
}

size_t UnfinishedUtf8Suffix(absl::string_view text) {
  for (size_t length = 1; length <= std::min<size_t>(3, text.size()); ++length) {
    const absl::string_view suffix = text.substr(text.size() - length);
    const auto lead = static_cast<unsigned char>(suffix[0]);
    if (lead < 0xC2 || lead > 0xF4) continue;  // begins no longer character
    const Sequence sequence = FirstSequence(suffix);
    return !sequence.valid && sequence.length == length ? length : 0;
  }
  return 0;
}

std::string ReplaceInvalidUtf8(absl::string_view text) {
  std::string repaired;
  repaired.reserve(text.size());
  while (!text.empty()) {
    const size_t valid = ValidUtf8Prefix(text);
    repaired.append(text.data(), valid);
    text.remove_prefix(valid);
    if (text.empty()) break;
    repaired.append("\xEF\xBF\xBD");
    text.remove_prefix(FirstSequence(text).length);
  }
  return repaired;
}

char32_t TakeCodePoint(absl::string_view& text) {
  const Sequence sequence = FirstSequence(text);
  const absl::string_view bytes = text.substr(0, sequence.length);
  text.remove_prefix(sequence.length);
  if (!sequence.valid) return 0xFFFD;
  const auto lead = static_cast<unsigned char>(bytes[0]);
  if (bytes.size() == 1) return lead;
  char32_t code = lead & (0x7Fu >> bytes.size());
  for (const char byte : bytes.substr(1)) {
    code = (code << 6) | (static_cast<unsigned char>(byte) & 0x3Fu);
  }
  return code;
}

std::string Quoted(absl::string_view text, size_t bytes_max) {
  const bool cut = text.size() > bytes_max;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, bytes_max)), cut ? "…\"" : "\"");
}

}  // namespace r1
