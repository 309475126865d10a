// What the text rewards read a response with: prose, letters, words of a language. Input: a byte
// that chooses the language, then the text.

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/status.h"
#include "common/utf8.h"
#include "rewards/text/language.h"
#include "rewards/text/letters.h"
#include "rewards/text/prose.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string prose = r1::rewards::ProseOf(text);
  R1_CHECK(prose.size() <= text.size());
  const std::string lower = r1::rewards::LowerText(prose);
  R1_CHECK(r1::IsValidUtf8(lower));
  R1_CHECK(r1::rewards::LowerText(lower) == lower);

  const char* const languages[] = {"en", "de", "fr", "ru", "zh", "ja", "ko", "th"};
  const auto share = r1::rewards::CountLanguage(prose, languages[data[0] % 8]);
  R1_CHECK(share.target_words <= share.words);
  R1_CHECK(share.words <= prose.size());
  // However the words are shared out, there are as many of them.
  R1_CHECK(r1::rewards::CountLanguage(prose, "it").words == share.words);
  return 0;
}
