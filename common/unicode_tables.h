// Where the Unicode data of the reference, Hugging Face's tokenizers, differs from the libraries
// used here. Its regular expressions know Unicode 16, PCRE2 10.42 knows 14: what was assigned
// between the two is listed by category. Its NFC knows Unicode 9, utf8proc knows 14 and later:
// marks assigned after 9 are listed, so that they stay where they are.
#pragma once

#include <cstdint>
#include <span>

namespace r1 {

struct CodePointRange {
  int32_t first;
  int32_t last;
};

// Of a general category: 'L', 'M', 'N', 'P' or 'S'; sorted. Empty for any other.
std::span<const CodePointRange> AssignedAfterUnicode14(char category);

// Whether NFC must treat the code point as one that neither moves nor composes.
bool IsUnknownToNfc(int32_t code_point);

}  // namespace r1
