// Which language the words of a prose text are of.
//
// The script decides where it can: a Hangul word is Korean, a Cyrillic one Russian. Han letters are
// Japanese in a sentence that has kana, and Chinese in one that has none. Letters of scripts that
// are written without spaces (Han, kana, Thai) are a word each.
//
// Words in Latin letters are told apart by their neighbours: common words of each language, letters
// that only some of them have, and endings are evidence, summed over a word and the four words on
// either side within its sentence. A word without any evidence around it counts with the word
// before it; at the beginning, with the target language.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace r1::rewards {

struct LanguageShare {
  size_t words = 0;
  size_t target_words = 0;
};

// Whether it is one of v1::LanguageConsistencyRewardConfig.language.
bool IsKnownLanguage(absl::string_view language);

// Words with digits or underscores in them and single Latin letters are not counted: they are
// names. The language must be known.
LanguageShare CountLanguage(absl::string_view prose, absl::string_view language);

}  // namespace r1::rewards
