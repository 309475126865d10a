#include "common/growing_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rng.h"

namespace r1 {
namespace {

// One token a byte, so that every border is between two tokens.
std::unique_ptr<Tokenizer> Bytes() {
  auto tokenizer = Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes"));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

class GrowingTextTest : public testing::Test {
 protected:
  // Appends a text token by token until it stops; the pieces that were settled on the way.
  std::vector<std::string> Grow(GrowingText& text, const std::string& bytes) {
    std::vector<std::string> pieces;
    const auto ids = tokenizer_->Encode(bytes);
    EXPECT_TRUE(ids.ok()) << ids.status();
    for (const int32_t id : *ids) {
      const bool stopped = text.Append(id);
      pieces.push_back(text.TakeSettled());
      if (stopped) return pieces;
    }
    text.Finish();
    pieces.push_back(text.TakeSettled());
    return pieces;
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = Bytes();
};

TEST_F(GrowingTextTest, TheTextEndsInFrontOfTheFirstStopString) {
  const std::vector<std::string> stops = {"END", "\n\n"};
  GrowingText text(*tokenizer_, stops);
  EXPECT_THAT(Grow(text, "abENEND more"), testing::ElementsAre("a", "b", "", "", "EN", "", ""));
  EXPECT_EQ(text.text(), "abEN");
  EXPECT_TRUE(text.Append(1));  // nothing comes behind it
  text.Finish();
  EXPECT_EQ(text.text(), "abEN");
  GrowingText lines(*tokenizer_, stops);
  Grow(lines, "a\nb\n\nEND");
  EXPECT_EQ(lines.text(), "a\nb");
}

TEST_F(GrowingTextTest, OfTwoStopStringsInOneTokenTheEarlierOneCuts) {
  const std::vector<std::string> stops = {"bc", "abc"};
  GrowingText text(*tokenizer_, stops);
  Grow(text, "xabc");
  EXPECT_EQ(text.text(), "x");
}

TEST_F(GrowingTextTest, WhatWasHeldBackIsSettledAtTheEnd) {
  const std::vector<std::string> stops = {"END"};
  GrowingText text(*tokenizer_, stops);
  EXPECT_THAT(Grow(text, "aEN"), testing::ElementsAre("a", "", "", "EN"));
  EXPECT_EQ(text.text(), "aEN");
}

TEST_F(GrowingTextTest, AnUnfinishedCharacterBecomesTheReplacementAtTheEnd) {
  const std::vector<std::string> none;
  GrowingText text(*tokenizer_, none);
  const std::vector<int32_t> ids = *tokenizer_->Encode("é");
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_FALSE(text.Append(ids[0]));
  EXPECT_EQ(text.TakeSettled(), "");
  text.Finish();
  EXPECT_EQ(text.TakeSettled(), "\xEF\xBF\xBD");
}

TEST_F(GrowingTextTest, PiecesJoinToTheTextThatASearchOfTheWholeGives) {
  Rng rng(5, 0, RngPurpose::kTest, 0, 0);
  int stopped = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<std::string> stops(rng.NextBelow(3));
    for (std::string& stop : stops) {
      for (uint64_t n = 1 + rng.NextBelow(4); n > 0; --n) stop += "ab"[rng.NextBelow(2)];
    }
    std::string whole;
    for (int i = 0; i < 12; ++i) whole += "abc"[rng.NextBelow(3)];
    // The text is searched each time it has grown, so the stop string that ends first wins, and of
    // several that end there the longest.
    size_t end = std::string::npos, cut = whole.size();
    for (const std::string& stop : stops) {
      const size_t at = whole.find(stop);
      if (at == std::string::npos || at + stop.size() > end) continue;
      cut = at + stop.size() < end ? at : std::min(cut, at);
      end = at + stop.size();
    }
    GrowingText text(*tokenizer_, stops);
    std::string joined;
    for (const std::string& piece : Grow(text, whole)) joined += piece;
    EXPECT_EQ(text.text(), whole.substr(0, cut)) << whole;
    EXPECT_EQ(joined, text.text()) << whole;
    stopped += cut < whole.size();
  }
  EXPECT_GT(stopped, 500);
}

}  // namespace
}  // namespace r1
