// Equality of two single values, cheap to dear: exact rationals, quotients of polynomials, balls at
// growing precision, and for symbols balls at fixed pseudo-random points.
#pragma once

#include <vector>

#include "rewards/math/exact.h"

namespace r1::rewards::math {

enum class Verdict { kEqual, kDifferent, kUndecided };

Verdict CompareScalars(const Part& a, const Part& b, Budget& budget);

// Whether a[0] - a[1] and b[0] - b[1] are the same up to a factor that is a number (a positive one
// with `same_direction`).
Verdict CompareDifferences(const std::vector<Part>& a, const std::vector<Part>& b,
                           bool same_direction, Budget& budget);

}  // namespace r1::rewards::math
