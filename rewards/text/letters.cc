#include "rewards/text/letters.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "common/utf8.h"

namespace r1::rewards {
namespace {

struct ScriptRange {
  char32_t first;
  char32_t last;
  Script script;
};

// Sorted, after Scripts.txt of Unicode 15; a range may hold a few unassigned code points.
constexpr ScriptRange kScriptRanges[] = {
    {0x0041, 0x005A, Script::kLatin},      {0x0061, 0x007A, Script::kLatin},
    {0x00AA, 0x00AA, Script::kLatin},      {0x00BA, 0x00BA, Script::kLatin},
    {0x00C0, 0x00D6, Script::kLatin},      {0x00D8, 0x00F6, Script::kLatin},
    {0x00F8, 0x02B8, Script::kLatin},      {0x0300, 0x036F, Script::kMark},
    {0x0370, 0x0373, Script::kGreek},      {0x0376, 0x037D, Script::kGreek},
    {0x0386, 0x0386, Script::kGreek},      {0x0388, 0x03FF, Script::kGreek},
    {0x0400, 0x0481, Script::kCyrillic},   {0x0483, 0x0489, Script::kMark},
    {0x048A, 0x052F, Script::kCyrillic},   {0x0531, 0x0588, Script::kOther},
    {0x0591, 0x05BD, Script::kMark},       {0x05D0, 0x05F2, Script::kHebrew},
    {0x0610, 0x061A, Script::kMark},       {0x0620, 0x064A, Script::kArabic},
    {0x064B, 0x065F, Script::kMark},       {0x066E, 0x06D3, Script::kArabic},
    {0x06D5, 0x06EF, Script::kArabic},     {0x06FA, 0x06FF, Script::kArabic},
    {0x0700, 0x074F, Script::kOther},      {0x0750, 0x077F, Script::kArabic},
    {0x0780, 0x08FF, Script::kOther},      {0x0900, 0x0963, Script::kDevanagari},
    {0x0971, 0x097F, Script::kDevanagari}, {0x0980, 0x0DFF, Script::kOther},
    {0x0E01, 0x0E3A, Script::kThai},       {0x0E40, 0x0E4E, Script::kThai},
    {0x0E80, 0x10FF, Script::kOther},      {0x1100, 0x11FF, Script::kHangul},
    {0x1200, 0x1C7F, Script::kOther},      {0x1C80, 0x1C88, Script::kCyrillic},
    {0x1C90, 0x1CBF, Script::kOther},      {0x1D00, 0x1D7F, Script::kLatin},
    {0x1DC0, 0x1DFF, Script::kMark},       {0x1E00, 0x1EFF, Script::kLatin},
    {0x1F00, 0x1FFF, Script::kGreek},      {0x20D0, 0x20F0, Script::kMark},
    {0x2C60, 0x2C7F, Script::kLatin},      {0x2DE0, 0x2DFF, Script::kMark},
    {0x3005, 0x3007, Script::kHan},        {0x3041, 0x3096, Script::kKana},
    {0x309D, 0x309F, Script::kKana},       {0x30A1, 0x30FA, Script::kKana},
    {0x30FC, 0x30FF, Script::kKana},       {0x3105, 0x312F, Script::kOther},
    {0x3131, 0x318E, Script::kHangul},     {0x31F0, 0x31FF, Script::kKana},
    {0x3400, 0x4DBF, Script::kHan},        {0x4E00, 0x9FFF, Script::kHan},
    {0xA000, 0xA63F, Script::kOther},      {0xA640, 0xA69F, Script::kCyrillic},
    {0xA720, 0xA7FF, Script::kLatin},      {0xA8E0, 0xA8FF, Script::kDevanagari},
    {0xA960, 0xA97C, Script::kHangul},     {0xAC00, 0xD7FB, Script::kHangul},
    {0xF900, 0xFAD9, Script::kHan},        {0xFB00, 0xFB06, Script::kLatin},
    {0xFB1D, 0xFB4F, Script::kHebrew},     {0xFB50, 0xFDFF, Script::kArabic},
    {0xFE00, 0xFE0F, Script::kMark},       {0xFE20, 0xFE2F, Script::kMark},
    {0xFE70, 0xFEFC, Script::kArabic},     {0xFF21, 0xFF3A, Script::kLatin},
    {0xFF41, 0xFF5A, Script::kLatin},      {0xFF66, 0xFF9D, Script::kKana},
    {0xFFA0, 0xFFDC, Script::kHangul},     {0x20000, 0x323AF, Script::kHan},
};

}  // namespace

bool IsSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

std::string LowerText(absl::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  while (!text.empty()) {
    utf8proc_uint8_t bytes[4];
    const auto code = static_cast<utf8proc_int32_t>(TakeCodePoint(text));
    const utf8proc_ssize_t length = utf8proc_encode_char(utf8proc_tolower(code), bytes);
    lower.append(bytes, bytes + length);
  }
  return lower;
}

Script ScriptOf(char32_t code) {
  const ScriptRange* after = std::upper_bound(
      std::begin(kScriptRanges), std::end(kScriptRanges), code,
      [](char32_t value, const ScriptRange& range) { return value < range.first; });
  if (after == std::begin(kScriptRanges)) return Script::kNone;
  const ScriptRange& range = *(after - 1);
  return code <= range.last ? range.script : Script::kNone;
}

}  // namespace r1::rewards
