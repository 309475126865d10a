// Merging against a naive loop, and what is built around it: added tokens in a text, NFC, text that
// grows token by token. Long inputs show that nothing is quadratic.

#include "common/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/added_tokens.h"
#include "common/incremental_decoder.h"
#include "common/rng.h"
#include "common/tokenizer.h"
#include "common/unicode_nfc.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Ids = std::vector<int32_t>;

// A random vocabulary over "abc": tokens, and merges in random order that lead to each of them in
// one or more ways.
struct RandomModel {
  std::vector<std::string> tokens = {"a", "b", "c"};
  std::vector<BpeMerge> merges;
};

RandomModel MakeModel(Rng& rng) {
  RandomModel model;
  std::map<std::string, int32_t> ids = {{"a", 0}, {"b", 1}, {"c", 2}};
  std::map<std::pair<int32_t, int32_t>, bool> is_there;
  for (int i = 0; i < 30; ++i) {
    const auto left = static_cast<int32_t>(rng.NextBelow(model.tokens.size()));
    const auto right = static_cast<int32_t>(rng.NextBelow(model.tokens.size()));
    if (!is_there.emplace(std::pair(left, right), true).second) continue;
    const std::string merged =
        model.tokens[static_cast<size_t>(left)] + model.tokens[static_cast<size_t>(right)];
    const auto [entry, is_new] = ids.emplace(merged, static_cast<int32_t>(model.tokens.size()));
    if (is_new) model.tokens.push_back(merged);
    model.merges.push_back({left, right, entry->second});
  }
  for (size_t i = model.merges.size(); i > 1; --i) {
    std::swap(model.merges[i - 1], model.merges[rng.NextBelow(i)]);
  }
  return model;
}

// Merges the pair of lowest rank, the leftmost of equals, until there is none.
Ids NaiveEncode(const RandomModel& model, const std::string& text) {
  Ids ids;
  for (const char c : text) ids.push_back(c - 'a');
  for (;;) {
    const BpeMerge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      for (const BpeMerge& merge : model.merges) {
        if (merge.left != ids[i] || merge.right != ids[i + 1]) continue;
        if (best == nullptr || &merge < best) {
          best = &merge;
          at = i;
        }
      }
    }
    if (best == nullptr) return ids;
    ids[at] = best->merged;
    ids.erase(ids.begin() + static_cast<int64_t>(at) + 1);
  }
}

TEST(BpeTest, MergesAsTheNaiveLoopDoes) {
  const uint64_t seed = 4;
  Bpe::Scratch scratch;
  for (uint64_t i = 0; i < 300; ++i) {
    Rng rng(seed, 0, RngPurpose::kTest, i, 0);
    const RandomModel model = MakeModel(rng);
    const Bpe bpe(model.tokens, model.merges, /*ignore_merges=*/false);
    for (int j = 0; j < 20; ++j) {
      std::string text;
      for (uint64_t n = rng.NextBelow(25); n > 0; --n) {
        text += static_cast<char>('a' + rng.NextBelow(3));
      }
      Ids ids;
      EXPECT_EQ(bpe.Encode(text, scratch, ids), text.size());
      EXPECT_EQ(ids, NaiveEncode(model, text)) << "seed " << seed << ", model " << i << " " << text;
    }
  }
}

TEST(BpeTest, APieceThatIsATokenNeedsNoMergesIfTheModelSaysSo) {
  const std::vector<std::string> tokens = {"a", "b", "ab", "abb"};
  Bpe::Scratch scratch;
  for (const bool ignore_merges : {false, true}) {
    const Bpe bpe(tokens, {{0, 1, 2}}, ignore_merges);
    Ids ids;
    EXPECT_EQ(bpe.Encode("abb", scratch, ids), 3u);
    EXPECT_EQ(bpe.Encode("babb", scratch, ids), 4u);
    EXPECT_EQ(ids, ignore_merges ? (Ids{3, 1, 2, 1}) : (Ids{2, 1, 1, 2, 1}));
  }
}

TEST(BpeTest, TheFirstByteWithoutATokenIsReported) {
  const Bpe bpe({"a", "b"}, {}, false);
  Bpe::Scratch scratch;
  Ids ids;
  EXPECT_EQ(bpe.Encode("abxa", scratch, ids), 2u);
  EXPECT_THAT(ids, IsEmpty());
  EXPECT_EQ(bpe.Encode("", scratch, ids), 0u);
}

TEST(AddedTokensTest, TheLeftmostThenTheLongestIsCutOut) {
  AddedTokens tokens;
  EXPECT_TRUE(tokens.empty());
  EXPECT_TRUE(tokens.Add("<a>", 1));
  EXPECT_TRUE(tokens.Add("<a><b>", 2));
  EXPECT_TRUE(tokens.Add("a><", 3));
  EXPECT_FALSE(tokens.Add("<a>", 4));
  const auto cut = [&](absl::string_view text) {
    std::vector<std::pair<std::string, int32_t>> parts;
    for (const auto& part : tokens.Cut(text)) parts.emplace_back(std::string(part.text), part.id);
    return parts;
  };
  using P = std::pair<std::string, int32_t>;
  EXPECT_THAT(cut(""), IsEmpty());
  EXPECT_THAT(cut("x<a>y"), ElementsAre(P("x", -1), P("<a>", 1), P("y", -1)));
  EXPECT_THAT(cut("<a><b<a><b>"), ElementsAre(P("<a>", 1), P("<b", -1), P("<a><b>", 2)));
  EXPECT_THAT(cut("a><a>"), ElementsAre(P("a><", 3), P("a>", -1)));
}

TEST(NormalizeNfcTest, ComposesAndOrdersMarks) {
  EXPECT_EQ(NormalizeNfc("plain \u00FF"), "plain \u00FF");
  EXPECT_EQ(NormalizeNfc("e\u0301"), "\u00E9");
  EXPECT_EQ(NormalizeNfc("a\u0302\u0323"), "\u1EAD");
  EXPECT_EQ(NormalizeNfc("\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(NormalizeNfc("\u212B\u0958"), "\u00C5\u0915\u093C");  // one composes, one never does
  // U+1ABF is a mark that the reference does not know: it ends the run.
  EXPECT_EQ(NormalizeNfc("e\u1ABF\u0301"), "e\u1ABF\u0301");
}

TEST(NormalizeNfcTest, ALongRunOfMarksIsSortedInReasonableTime) {
  std::string text = "a", sorted = "a";
  for (int i = 0; i < 200'000; ++i) text += "\u0334\u0323\u0345";
  for (const char* mark : {"\u0334", "\u0323", "\u0345"}) {
    for (int i = 0; i < 200'000; ++i) sorted += mark;
  }
  const std::string expected = "\u1EA1" + sorted.substr(1);
  const std::string normalized = NormalizeNfc(text);
  // The first dot below composes with the letter; the overlay before it, of a lower class, stays.
  EXPECT_EQ(normalized.size(), expected.size() - 2);
  EXPECT_EQ(normalized.substr(0, 5), "\u1EA1\u0334");
}

TEST(IncrementalDecoderTest, HoldsBackWhatIsNoCharacterYet) {
  const auto tokenizer = *Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes"));
  IncrementalDecoder decoder(*tokenizer);
  const auto append = [&](unsigned char byte) { return decoder.Append(7 + byte); };
  EXPECT_EQ(append('a'), "a");
  EXPECT_EQ(append(0xF0), "");
  EXPECT_EQ(append(0x9F), "");
  EXPECT_EQ(append(0x98), "");
  EXPECT_EQ(append(0x80), "\U0001F600");
  EXPECT_EQ(append(0xE2), "");
  EXPECT_EQ(append('b'), "\uFFFDb");
  EXPECT_EQ(append(0xE0), "");
  EXPECT_EQ(append(0x80), "\uFFFD\uFFFD");  // E0 80 begins nothing
  EXPECT_EQ(append(0xFF), "\uFFFD");
  EXPECT_EQ(append(0xC3), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(IncrementalDecoderTest, PartsJoinedAreTheDecodedText) {
  const uint64_t seed = 6;
  const auto tokenizer = *Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes"));
  // Bytes that begin, continue and break characters.
  const std::string bytes = "a\x80\xBF\x9F\xA0\xC3\xE0\xE2\xED\xF0\xF4\xFF";
  for (uint64_t i = 0; i < 5000; ++i) {
    Rng rng(seed, 0, RngPurpose::kTest, i, 0);
    Ids ids;
    for (uint64_t n = rng.NextBelow(20); n > 0; --n) {
      const auto byte = static_cast<unsigned char>(bytes[rng.NextBelow(bytes.size())]);
      ids.push_back(rng.NextBelow(10) == 0 ? static_cast<int32_t>(rng.NextBelow(270)) : 7 + byte);
    }
    for (const bool skip_special : {false, true}) {
      IncrementalDecoder decoder(*tokenizer, skip_special);
      std::string text;
      for (const int32_t id : ids) {
        const std::string part = decoder.Append(id);
        ASSERT_TRUE(IsValidUtf8(part));
        text += part;
      }
      ASSERT_EQ(text + decoder.Finish(), tokenizer->Decode(ids, skip_special))
          << "seed " << seed << ", text " << i;
    }
  }
}

}  // namespace
}  // namespace r1
