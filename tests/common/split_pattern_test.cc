// Splits: the pieces of texts against those of Hugging Face's library, read off by hand; the
// character classes, over all code points, against its counts; and what is refused.

#include "common/split_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rng.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kWords[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

SplitPattern Compiled(absl::string_view expression) {
  absl::StatusOr<SplitPattern> pattern = SplitPattern::Compile(expression);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return *std::move(pattern);
}

absl::Status Split(absl::string_view expression, absl::string_view text,
                   std::vector<absl::string_view>& pieces) {
  return Compiled(expression).Split(std::span(&text, 1), pieces);
}

std::vector<std::string> Pieces(absl::string_view expression, absl::string_view text) {
  std::vector<absl::string_view> pieces;
  EXPECT_TRUE(Split(expression, text, pieces).ok());
  return std::vector<std::string>(pieces.begin(), pieces.end());
}

std::string Utf8(int32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

TEST(SplitPatternTest, WordsTakeTheirSpaceAndRunsKeepTheRest) {
  EXPECT_THAT(Pieces(kWords, "a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(Pieces(kWords, "a  12"), ElementsAre("a", " ", " ", "1", "2"));
  EXPECT_THAT(Pieces(kWords, "don't WE'LL \n\n x"),
              ElementsAre("don", "'t", " WE", "'LL", " \n\n", " x"));
  EXPECT_THAT(Pieces(kWords, "f(x);\n}"), ElementsAre("f", "(x", ");\n", "}"));
  EXPECT_THAT(Pieces(kWords, "end   "), ElementsAre("end", "   "));
  EXPECT_THAT(Pieces(kWords, ""), ElementsAre());
}

TEST(SplitPatternTest, CaselessContractionsFoldAsUnicodeDoes) {
  EXPECT_THAT(Pieces(kWords, "x'\u017Fy"), ElementsAre("x", "'\u017F", "y"));
}

TEST(SplitPatternTest, UnmatchedStretchesArePieces) {
  EXPECT_THAT(Pieces("\\p{N}{1,3}", "ab1234cd"), ElementsAre("ab", "123", "4", "cd"));
  EXPECT_THAT(Pieces("[一-龥]+", "a\u4E00\u9FA5\u9FA6"),
              ElementsAre("a", "\u4E00\u9FA5", "\u9FA6"));
  EXPECT_THAT(Pieces("x", "abc"), ElementsAre("abc"));
}

TEST(SplitPatternTest, WhiteSpaceIsThatOfUnicode) {
  EXPECT_THAT(Pieces("\\s", "a\u0085\u00A0\u3000b"),
              ElementsAre("a", "\u0085", "\u00A0", "\u3000", "b"));
  EXPECT_THAT(Pieces("\\s", "\u180E\u200B"), ElementsAre("\u180E\u200B"));
  EXPECT_THAT(Pieces("\\S+", "a\u180E b"), ElementsAre("a\u180E", " ", "b"));
  EXPECT_THAT(Pieces("[^\\s]+", "a\u2003b"), ElementsAre("a", "\u2003", "b"));
}

// Counts printed by tests/golden/make_unicode_tables.py. They are Unicode 16's: a PCRE2 that knows
// a later Unicode fails here, and needs the difference in common/unicode_tables.cc.
TEST(SplitPatternTest, ClassesHaveAsManyCodePointsAsTheReference) {
  const std::map<std::string, int> kCounts = {{"\\p{L}", 141028}, {"\\p{N}", 1911},
                                              {"\\p{M}", 2501},   {"\\p{P}", 855},
                                              {"\\p{S}", 8514},   {"\\s", 25}};
  // U+0001 is in none of them and keeps the others apart.
  std::string text;
  for (int32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c >= 0xE000) text += '\x01' + Utf8(c);
  }
  for (const auto& [expression, count] : kCounts) {
    std::vector<absl::string_view> pieces;
    ASSERT_TRUE(Split(expression, text, pieces).ok());
    const auto found = std::count_if(pieces.begin(), pieces.end(),
                                     [](absl::string_view piece) { return piece[0] != '\x01'; });
    EXPECT_EQ(found, count) << expression;
  }
}

TEST(SplitPatternTest, PiecesJoinedAreTheText) {
  const uint64_t seed = 11;
  const std::vector<std::string> parts = {"a", "É", "7", "½", " ", "\n", "\r", "'", "ſ", "你", "!"};
  for (uint64_t i = 0; i < 2000; ++i) {
    Rng rng(seed, 0, RngPurpose::kTest, i, 0);
    std::string text;
    for (uint64_t n = rng.NextBelow(30); n > 0; --n) text += parts[rng.NextBelow(parts.size())];
    const std::vector<std::string> pieces = Pieces(kWords, text);
    EXPECT_EQ(absl::StrJoin(pieces, ""), text) << "seed " << seed << ", text " << i;
    for (const std::string& piece : pieces) EXPECT_FALSE(piece.empty());
  }
}

TEST(SplitPatternTest, LongRunsAreOnePiece) {
  for (const char* unit : {"a", " ", "!", "\n", "é", "\u0301"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    EXPECT_EQ(Pieces(kWords, text).size(), 1u) << unit;
  }
}

TEST(SplitPatternTest, ExponentialExpressionsEndWithAnError) {
  std::vector<absl::string_view> pieces;
  // The b keeps PCRE2 from seeing at once that there is no match.
  const std::string text = std::string(197, 'a') + "c b";
  const absl::Status status = Split("(?:(?:a+)+)+b", text, pieces);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("on a text of 200 bytes"));
}

TEST(SplitPatternTest, WhatOtherEnginesReadDifferentlyIsRefused) {
  const struct {
    const char* expression;
    const char* message;
  } kCases[] = {
      {"a.b", "\".\" at byte 1: not supported"},
      {"^a", "\"^\" at byte 0"},
      {"a$", "\"$\" at byte 1"},
      {"\\d", "the escape \"\\\\d\" at byte 0"},
      {"\\w", "the escape"},
      {"\\b", "the escape"},
      {"\\p{Lu}", "the escape \"\\\\p{Lu}\""},
      {"\\p{Han}", "the escape"},
      {"a\\", "a lone \\"},
      {"(a)", "the group \"(a)\""},
      {"(?<=a)b", "the group \"(?<=\""},
      {"(?<!a)b", "the group"},
      {"(?>a)b", "the group"},
      {"(?i)a", "the group \"(?i)\""},
      {"(?:a", "an unmatched ("},
      {"a)", "an unmatched )"},
      {"a]", "\"]\" at byte 1"},
      {"a+?", "a lazy, possessive or double quantifier"},
      {"a++", "a lazy, possessive"},
      {"a{2}+", "a lazy, possessive"},
      {"*a", "\"*\" at byte 0"},
      {"a{", "an unmatched {"},
      {"a{,3}", "the quantifier \"{,3}\""},
      {"a{x}", "the quantifier"},
      {"a{3,2}", "the quantifier"},
      {"a{1,1001}", "the quantifier"},
      {"a(?!b)+", "a repeated look-ahead"},
      {"[]a]", "an empty class"},
      {"[^]a]", "an empty class"},
      {"[a", "an unmatched ["},
      {"[a[b]]", "\"[\" inside of a class"},
      {"[a&&b]", "\"&\" inside of a class"},
      {"[-a]", "\"-\" inside of a class"},
      {"[a-]", "a range that is none"},
      {"[z-a]", "a range that is none"},
      {"[a-\\s]", "a range that is none"},
      {"[\\S]", "\\S or \\P inside of a class"},
      {"(?i:é)", "inside of (?i:…)"},
      {"(?i:[a])", "inside of (?i:…)"},
      {"(?i:a+)", "a quantifier inside of (?i:…)"},
      {"(?i:'ss)", "\"ss\" inside of (?i:…)"},
      {"a?", "it can match the empty text"},
      {"\xFF", "invalid UTF-8"},
  };
  for (const auto& c : kCases) {
    const auto pattern = SplitPattern::Compile(c.expression);
    EXPECT_EQ(pattern.status().code(), absl::StatusCode::kInvalidArgument) << c.expression;
    EXPECT_THAT(std::string(pattern.status().message()), HasSubstr(c.message)) << c.expression;
  }
  EXPECT_FALSE(SplitPattern::Compile(std::string(10'001, 'a')).ok());
  std::string deep = "a";
  for (int i = 0; i < 30; ++i) deep = "(?:" + deep + ")";
  EXPECT_THAT(std::string(SplitPattern::Compile(deep).status().message()),
              HasSubstr("deep nesting"));
}

}  // namespace
}  // namespace r1
