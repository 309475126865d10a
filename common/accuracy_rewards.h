// Which of the built-in rewards judge whether an answer is right: 1, or less. Held-out accuracy is
// theirs.
#pragma once

#include "absl/strings/string_view.h"

namespace r1 {

inline constexpr absl::string_view kAccuracyRewards[] = {"code", "exact_match", "math",
                                                         "multiple_choice"};

}  // namespace r1
