#include "common/evaluation/ngram_overlap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rng.h"

namespace r1 {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(OverlapWordsTest, CasePunctuationAndSpaceDoNotCount) {
  EXPECT_THAT(OverlapWords("The  quick,\tBROWN\n\nfox--jumps!"),
              ElementsAre("the", "quick", "brown", "fox", "jumps"));
  EXPECT_THAT(OverlapWords("\\frac{1}{2} + x^2"), ElementsAre("frac", "1", "2", "x", "2"));
  EXPECT_THAT(OverlapWords(" .,- "), IsEmpty());
  EXPECT_THAT(OverlapWords(""), IsEmpty());
}

TEST(OverlapWordsTest, Unicode) {
  // Composed and decomposed e with acute; sharp s folds to ss; full-width and ligature; a
  // zero-width space and a soft hyphen inside of words; a no-break space between them.
  EXPECT_EQ(OverlapWords("\u00C9t\u00E9"), OverlapWords("e\u0301te\u0301"));
  EXPECT_THAT(OverlapWords("STRASSE Stra\u00DFe"), ElementsAre("strasse", "strasse"));
  EXPECT_THAT(OverlapWords("\uFF11\uFF12 \uFB01ne"), ElementsAre("12", "fine"));
  EXPECT_THAT(OverlapWords("zero\u200Bwidth soft\u00ADhyphen"),
              ElementsAre("zerowidth", "softhyphen"));
  EXPECT_THAT(OverlapWords("a\u00A0b"), ElementsAre("a", "b"));
  EXPECT_THAT(OverlapWords("\u6C42x\u7684\u503C"), ElementsAre("\u6C42", "x", "\u7684", "\u503C"));
  EXPECT_THAT(OverlapWords("a\xFF\xFE"
                           "b"),
              ElementsAre("a", "b"));
}

TEST(OverlapWordsTest, LongRunsOfMarksAreSortedInTime) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  EXPECT_EQ(OverlapWords(text).size(), 1u);
}

TEST(NgramIndexTest, TenWordsInARowAreFoundAndNineAreNot) {
  NgramIndex index(10);
  EXPECT_EQ(index.Add("one two three four five six seven eight nine ten eleven", 7), 2u);
  EXPECT_EQ(index.Add("too short", 8), 0u);
  const auto match = index.Find("x ONE two, three four five six seven eight nine (ten) y");
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->row, 7u);
  EXPECT_EQ(match->count, 1u);
  EXPECT_EQ(match->ngram, "one two three four five six seven eight nine ten");
  EXPECT_FALSE(index.Find("one two three four five six seven eight nine x ten").has_value());
  EXPECT_FALSE(index.Find("two three four five six seven eight nine ten").has_value());
  EXPECT_FALSE(index.Find("").has_value());
}

// Against sets of joined words, for texts of few different words, so that much overlaps.
TEST(NgramIndexTest, FindsWhatANaiveComparisonFinds) {
  Rng rng(11, 0, RngPurpose::kTest, 0, 0);
  const auto random_text = [&rng] {
    std::vector<std::string> words(rng.NextBelow(12));
    for (std::string& word : words) word = absl::StrCat("w", rng.NextBelow(3));
    return words;
  };
  constexpr size_t kN = 4;
  const auto grams_of = [](const std::vector<std::string>& words) {
    std::vector<std::string> grams;
    for (size_t i = 0; i + kN <= words.size(); ++i) {
      grams.push_back(absl::StrJoin(words.begin() + i, words.begin() + i + kN, " "));
    }
    return grams;
  };
  for (int round = 0; round < 500; ++round) {
    const std::vector<std::string> known = random_text();
    const std::vector<std::string> text = random_text();
    NgramIndex index(kN);
    index.Add(absl::StrJoin(known, " "), 1);
    const std::vector<std::string> list = grams_of(known);
    const std::set<std::string> set(list.begin(), list.end());
    size_t expected = 0;
    for (const std::string& gram : grams_of(text)) expected += set.count(gram);
    const auto match = index.Find(absl::StrJoin(text, "; "));
    EXPECT_EQ(match ? match->count : 0, expected);
  }
}

}  // namespace
}  // namespace r1
