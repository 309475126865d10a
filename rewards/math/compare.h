// Whether two answers are the same: the judgement of the reward `math`.
//
//   Compare("\\frac{1}{2}", "0.5").verdict == Verdict::kEqual
//
// Symmetric, and equal for every answer that can be read at all. Kinds are kept apart: a list never
// equals one value, a point is not a set, an equation is a value only when it names it (x = 5).
// Bounded by counted work; a pure function of the two texts; thread-safe.
#pragma once

#include "absl/strings/string_view.h"
#include "rewards/math/scalar.h"

namespace r1::rewards::math {

struct Comparison {
  Verdict verdict = Verdict::kUndecided;
  // "equal", "different", "undecided", "work_limit", or why a side could not be read:
  // "unparseable_gold", "unparseable_answer".
  const char* reason = "undecided";
  bool gold_is_readable = true;
};

Comparison CompareAnswers(absl::string_view gold, absl::string_view answer);

}  // namespace r1::rewards::math
