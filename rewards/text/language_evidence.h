// Evidence for a language in one word of Latin letters.
#pragma once

#include <array>
#include <cstddef>

#include "absl/strings/string_view.h"

namespace r1::rewards {

// The last one stands for every language that is not listed; nothing but foreign letters speaks for
// it.
inline constexpr std::array<absl::string_view, 8> kLatinLanguages = {"en", "de", "es", "fr",
                                                                     "it", "nl", "pt", "other"};

// One number a language, 0 or more.
using Evidence = std::array<float, kLatinLanguages.size()>;

// `word` is in lower case, valid UTF-8.
Evidence EvidenceOf(absl::string_view word);

}  // namespace r1::rewards
