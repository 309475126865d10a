// Inequalities as intervals, so that 0 < x < 1 and (0, 1), and 2x >= 10 and [5, \infty), compare.
#pragma once

#include <string>

#include "rewards/math/exact.h"

namespace r1::rewards::math {

struct Interval {
  Part low, high;
  bool opens_wide = true, closes_wide = true;  // "(" and ")"
  std::string symbol;                          // empty for an interval in brackets
};

// Of a pair in brackets, an inequality that is linear in one symbol, or a chain with one symbol in
// the middle. Adds nodes to the part's expression. False when it is none of these.
[[nodiscard]] bool ToInterval(const Part& part, Budget& budget, Interval& interval);

}  // namespace r1::rewards::math
