// Digits to exact numbers.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "rewards/math/flint_values.h"

namespace r1::rewards::math {

// Digits with a point, separators between groups of three, an exponent of at most three digits,
// and digits that repeat for ever: ("0.1", "6") is 1/6.
[[nodiscard]] bool ParseDecimal(absl::string_view text, absl::string_view repeat, Rational& value);

// ("101", "2") is 5. False for a base outside of 2..36, or for a digit that it has not.
[[nodiscard]] bool ParseBaseLiteral(absl::string_view digits, absl::string_view base,
                                    Rational& value);

// Of a whole number.
std::string DecimalDigits(const Rational& value);

}  // namespace r1::rewards::math
