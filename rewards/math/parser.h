// Answer text to syntax tree: LaTeX and plain mathematics, lists, sets, intervals, relations,
// matrices, units and words. A recursive descent that stops at the limits of syntax.h.
#pragma once

#include "absl/strings/string_view.h"
#include "rewards/math/syntax.h"

namespace r1::rewards::math {

// False when the text is no mathematics and no words, or passes a limit; `reason` then says why:
// "empty", "too_long", "too_large" or "syntax". What has words and is no formula is one kText.
[[nodiscard]] bool ParseAnswer(absl::string_view text, Expression& expression, const char*& reason);

}  // namespace r1::rewards::math
