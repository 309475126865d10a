#include "common/evaluation/ngram_overlap.h"

#include <utf8proc.h>

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/utf8.h"

namespace r1 {
namespace {

// The characters of the text in NFKD, case-folded, without what is invisible: whether they are
// composed does not matter for a comparison. utf8proc's own function for whole texts is quadratic
// in the length of a run of marks.
std::vector<utf8proc_int32_t> Fold(absl::string_view text) {
  constexpr size_t kDecomposedMax = 18;  // the longest compatibility decomposition, U+FDFA
  constexpr auto kOptions = static_cast<utf8proc_option_t>(
      UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
  const auto class_of = [](utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
  };
  std::vector<utf8proc_int32_t> folded;
  while (!text.empty()) {
    utf8proc_int32_t parts[kDecomposedMax];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(TakeCodePoint(text)),
                                               parts, kDecomposedMax, kOptions, &boundary);
    R1_CHECK(count >= 0);
    R1_CHECK(static_cast<size_t>(count) <= kDecomposedMax);
    folded.insert(folded.end(), parts, parts + count);
  }
  const auto is_mark = [&](utf8proc_int32_t code) { return class_of(code) != 0; };
  for (auto begin = folded.begin(); begin != folded.end();) {
    begin = std::find_if(begin, folded.end(), is_mark);
    const auto end = std::find_if_not(begin, folded.end(), is_mark);
    std::stable_sort(begin, end, [&](auto a, auto b) { return class_of(a) < class_of(b); });
    begin = end;
  }
  return folded;
}

// Scripts that are written without spaces between words and whose characters say much.
bool IsIdeographOrKana(utf8proc_int32_t code) {
  return (code >= 0x3041 && code <= 0x30FF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0xF900 && code <= 0xFAFF) ||
         (code >= 0x20000 && code <= 0x323AF);
}

bool IsWordCharacter(utf8proc_int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO);  // L*, M*, N*
}

uint64_t HashOf(std::span<const std::string> words) {
  return Xxh3(absl::StrJoin(words, "\x1f"));  // which no word holds
}

}  // namespace

std::vector<std::string> OverlapWords(absl::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  };
  for (const utf8proc_int32_t code : Fold(text)) {
    const bool is_word = IsIdeographOrKana(code);
    if (is_word || !IsWordCharacter(code)) end_word();
    if (!IsWordCharacter(code)) continue;
    utf8proc_uint8_t bytes[4];
    const auto size = utf8proc_encode_char(code, bytes);
    word.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    if (is_word) end_word();
  }
  end_word();
  return words;
}

size_t NgramIndex::Add(absl::string_view text, uint32_t row) {
  const std::vector<std::string> words = OverlapWords(text);
  if (words.size() < n_) return 0;
  const std::span<const std::string> all(words);
  for (size_t i = 0; i + n_ <= words.size(); ++i) rows_.emplace(HashOf(all.subspan(i, n_)), row);
  return words.size() - n_ + 1;
}

std::optional<NgramIndex::Match> NgramIndex::Find(absl::string_view text) const {
  const std::vector<std::string> words = OverlapWords(text);
  const std::span<const std::string> all(words);
  std::optional<Match> match;
  for (size_t i = 0; i + n_ <= words.size(); ++i) {
    const auto found = rows_.find(HashOf(all.subspan(i, n_)));
    if (found == rows_.end()) continue;
    if (!match) match = Match{found->second, absl::StrJoin(all.subspan(i, n_), " "), 0, {}};
    ++match->count;
    match->rows.push_back(found->second);
  }
  if (match) {
    std::sort(match->rows.begin(), match->rows.end());
    match->rows.erase(std::unique(match->rows.begin(), match->rows.end()), match->rows.end());
  }
  return match;
}

}  // namespace r1
