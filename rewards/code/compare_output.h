// Whether what a program printed is what it should print.
#pragma once

#include "absl/strings/string_view.h"

namespace r1::rewards::code {

// Line by line, without white space at the ends of lines, and without empty lines at the end; CRLF
// is a line's end. With a tolerance (a problem that declares it), lines are compared word by word,
// and words that are no integers on both sides as numbers: |a - b| <= tolerance * max(1, |b|).
bool EqualOutputs(absl::string_view found, absl::string_view expected, double tolerance);

}  // namespace r1::rewards::code
