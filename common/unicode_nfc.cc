#include "common/unicode_nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "common/status.h"
#include "common/unicode_tables.h"

namespace r1 {
namespace {

// Below U+0300 every text is in form C: the lead bytes there are less than 0xCC.
bool IsBelowFirstMark(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

int CombiningClass(int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

void AppendUtf8(const std::vector<int32_t>& code_points, std::string& text) {
  for (const int32_t code_point : code_points) {
    utf8proc_uint8_t bytes[4];
    const auto length = utf8proc_encode_char(code_point, bytes);
    text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
  }
}

void AppendDecomposed(int32_t code_point, std::vector<int32_t>& code_points) {
  constexpr size_t kDecomposedMax = 4;  // the longest canonical decomposition in Unicode
  utf8proc_int32_t parts[kDecomposedMax];
  int boundary = 0;
  const auto count = utf8proc_decompose_char(
      code_point, parts, kDecomposedMax,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
  R1_CHECK(count > 0);
  R1_CHECK(static_cast<size_t>(count) <= kDecomposedMax);
  code_points.insert(code_points.end(), parts, parts + count);
}

// Sorts each run of marks by class. utf8proc's own ordering is quadratic in the length of a run.
void OrderMarks(std::vector<int32_t>& code_points) {
  const auto is_mark = [](int32_t c) { return CombiningClass(c) != 0; };
  for (auto begin = code_points.begin(); begin != code_points.end();) {
    begin = std::find_if(begin, code_points.end(), is_mark);
    const auto end = std::find_if_not(begin, code_points.end(), is_mark);
    std::stable_sort(begin, end,
                     [](int32_t a, int32_t b) { return CombiningClass(a) < CombiningClass(b); });
    begin = end;
  }
}

// Composes the decomposed code points, appends them to the text and clears them.
void Flush(std::vector<int32_t>& code_points, std::string& text) {
  OrderMarks(code_points);
  const auto length = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  R1_CHECK(length >= 0);
  code_points.resize(static_cast<size_t>(length));
  AppendUtf8(code_points, text);
  code_points.clear();
}

}  // namespace

std::string NormalizeNfc(absl::string_view text) {
  if (IsBelowFirstMark(text)) return std::string(text);
  std::string normalized;
  normalized.reserve(text.size());
  std::vector<int32_t> code_points;
  while (!text.empty()) {
    utf8proc_int32_t code_point = 0;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                         static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    R1_CHECK(length > 0);
    if (IsUnknownToNfc(code_point)) {
      Flush(code_points, normalized);
      normalized.append(text.data(), static_cast<size_t>(length));
    } else {
      AppendDecomposed(code_point, code_points);
    }
    text.remove_prefix(static_cast<size_t>(length));
  }
  Flush(code_points, normalized);
  return normalized;
}

}  // namespace r1
