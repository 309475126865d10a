// Units that answers carry. A unit on one side only says nothing against the other; two known
// units must be the same one. Nothing is converted.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace r1::rewards::math {

// Whether a word after a number is a unit rather than a product of letters: "cm", "kg", "hours".
bool IsUnitWord(absl::string_view word);

// One spelling for each known unit: "square inches" and "inches^2" -> "in^2", "dollars" -> "$",
// "percent" -> "%", "degrees" -> "deg". Empty when no word of it is a known unit.
std::string CanonicalUnit(absl::string_view words);

}  // namespace r1::rewards::math
