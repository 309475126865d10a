// Tokenizers: the built-in ones against what Hugging Face's library makes of their files
// (tests/golden), round trips, and the features that are refused.

#include "common/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "common/filesystem.h"
#include "common/jsonl.h"
#include "common/rng.h"

namespace r1 {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> Builtin(const std::string& name) {
  return *Tokenizer::Parse(*Tokenizer::BuiltinJson(name));
}

class BuiltinTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Tokenizers, BuiltinTest, testing::Values("chars", "bytes"));

TEST_P(BuiltinTest, TheFileIsTheOneThatTheGoldenCasesWereMadeFrom) {
  const auto golden =
      RealFileSystem().Read("tests/golden/tokenizer_" + GetParam() + ".json", 1 << 20);
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_EQ(*Tokenizer::BuiltinJson(GetParam()), *golden);
  EXPECT_EQ(Builtin(GetParam())->json(), *golden);
}

TEST_P(BuiltinTest, IdsAndTextsEqualHuggingFace) {
  const auto tokenizer = Builtin(GetParam());
  const auto reader = *JsonlReader::Open("tests/golden/tokenizer_" + GetParam() + ".jsonl");
  int rows = 0;
  for (JsonlRow row; *reader->Next(row); ++rows) {
    ASSERT_TRUE(row.status.ok());
    const auto ids = row.object["ids"].get<std::vector<int32_t>>();
    if (row.object.contains("text")) {
      const auto encoded = tokenizer->Encode(row.object["text"].get<std::string>());
      ASSERT_TRUE(encoded.ok()) << encoded.status();
      EXPECT_EQ(*encoded, ids) << row.where;
    }
    EXPECT_EQ(tokenizer->Decode(ids), row.object["decoded"].get<std::string>()) << row.where;
    EXPECT_EQ(tokenizer->Decode(ids, true), row.object["decoded_skip_special"].get<std::string>())
        << row.where;
  }
  EXPECT_EQ(rows, 300);
}

TEST(TokenizerTest, CharsHasTheThirtyTwoTokensOfTheBuiltInTasks) {
  const auto chars = Builtin("chars");
  EXPECT_EQ(chars->vocab_size(), 32);
  EXPECT_EQ(chars->TokenId("<pad>"), 0);
  EXPECT_EQ(chars->bos_id(), 1);
  EXPECT_EQ(chars->eos_id(), 2);
  EXPECT_EQ(chars->TokenId("<think>"), 3);
  EXPECT_EQ(chars->TokenId("</answer>"), 6);
  EXPECT_EQ(chars->TokenId("none"), -1);
  EXPECT_THAT(*chars->Encode("<think>07+-=:\naj</think>"),
              ElementsAre(3, 7, 14, 17, 18, 19, 20, 21, 22, 31, 4));
  EXPECT_EQ(chars->Decode({1, 3, 7, 8, 2, 0}), "<bos><think>01<eos><pad>");
  EXPECT_EQ(chars->Decode({1, 3, 7, 8, 2, 0}, true), "<think>01");
  EXPECT_EQ(chars->Decode({-1, 7, 32, 1 << 30}), "0");
}

TEST(TokenizerTest, BytesTakesAnyBytes) {
  const auto bytes = Builtin("bytes");
  EXPECT_EQ(bytes->vocab_size(), 263);
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_THAT(*bytes->Encode(std::string(1, static_cast<char>(byte))), ElementsAre(7 + byte));
  }
  EXPECT_EQ(bytes->Decode({7 + 0xC3, 7 + 0xA9, 7 + 0xC3}), "\xC3\xA9\xEF\xBF\xBD");
}

TEST(TokenizerTest, AddedTokensAreTextUnlessTheyAreParsed) {
  const auto bytes = Builtin("bytes");
  EXPECT_EQ(bytes->Encode("<eos>")->size(), 1u);
  const auto as_text = bytes->Encode("<eos>", /*parse_added_tokens=*/false);
  EXPECT_EQ(as_text->size(), 5u);
  EXPECT_EQ(bytes->Decode(*as_text), "<eos>");
  EXPECT_FALSE(Builtin("chars")->Encode("<eos>", false).ok());
}

TEST(TokenizerTest, UnknownCharactersAreNamedWithTheirPlace) {
  const absl::Status status = Builtin("chars")->Encode("12\xC3\xA9").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "character \"\\xc3\\xa9\" at byte 2 of the text is not in the vocabulary");
  EXPECT_THAT(std::string(Builtin("chars")->Encode("<thin>").status().message()),
              HasSubstr("\"<\" at byte 0"));
}

// Decode is the inverse of Encode on valid UTF-8 over the vocabulary.
void ExpectRoundTrips(const Tokenizer& tokenizer, const std::vector<std::string>& pieces) {
  for (uint64_t i = 0; i < 10000; ++i) {
    Rng rng(11, 0, RngPurpose::kTest, i, 0);
    std::string text;
    for (uint64_t n = rng.NextBelow(20); n > 0; --n) text += pieces[rng.NextBelow(pieces.size())];
    const auto ids = tokenizer.Encode(text);
    ASSERT_TRUE(ids.ok()) << "case " << i << ": " << ids.status();
    ASSERT_EQ(tokenizer.Decode(*ids), text) << "case " << i;
  }
}

TEST(TokenizerTest, RandomTextsSurviveARoundTrip) {
  std::vector<std::string> pieces = {"<think>", "</think>", "<answer>", "</answer>",
                                     "<bos>",   "<eos>",    "0",        "9",
                                     "+",       "\n",       "a",        "j"};
  ExpectRoundTrips(*Builtin("chars"), pieces);
  pieces.insert(pieces.end(),
                {"<", ">", "</", "think", " ", "\xC3\xA9", "\xE6\xBC\xA2", "\xF0\x9F\x98\x80"});
  ExpectRoundTrips(*Builtin("bytes"), pieces);
}

TEST(TokenizerTest, ConfigNamesTheSpecialTokens) {
  const json config = json::parse(Builtin("chars")->config_json());
  EXPECT_EQ(config["bos_token"], "<bos>");
  EXPECT_EQ(config["eos_token"], "<eos>");
  EXPECT_EQ(config["pad_token"], "<pad>");
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
}

TEST(TokenizerTest, TheLongestAddedTokenWins) {
  json root = json::parse(*Tokenizer::BuiltinJson("bytes"));
  for (const char* content : {"<a", "<ab>", "<ab"}) {
    root["added_tokens"].push_back(
        {{"id", 260 + root["added_tokens"].size() - 4}, {"content", content}});
  }
  const auto tokenizer = Tokenizer::Parse(root.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 266);
  EXPECT_THAT(*(*tokenizer)->Encode("<ab><ab<a"), ElementsAre(264, 265, 263));
  EXPECT_EQ((*tokenizer)->Decode({264, 265, 263}), "<ab><ab<a");
}

// Each change of a good file, as a JSON patch, and what the refusal must name.
TEST(TokenizerTest, UnsupportedFeaturesAndMalformedKeysAreNamed) {
  const struct {
    const char* patch;
    const char* message;
  } kCases[] = {
      {R"([{"op":"replace","path":"/normalizer","value":{"type":"NFC"}}])",
       "normalizer: not supported"},
      {R"([{"op":"replace","path":"/post_processor","value":{"type":"TemplateProcessing"}}])",
       "post_processor: not"},
      {R"([{"op":"replace","path":"/truncation","value":{}}])", "truncation: not supported"},
      {R"([{"op":"replace","path":"/padding","value":1}])", "padding: not supported: 1"},
      {R"([{"op":"replace","path":"/version","value":"2.0"}])", "version: not supported: \"2.0\""},
      {R"([{"op":"add","path":"/new","value":1}])", "\"new\": not supported"},
      {R"([{"op":"replace","path":"/pre_tokenizer","value":null}])",
       "pre_tokenizer: expected an object of type"},
      {R"([{"op":"replace","path":"/pre_tokenizer/type","value":"Whitespace"}])",
       "pre_tokenizer.type: not supported: \"Whitespace\""},
      {R"([{"op":"replace","path":"/pre_tokenizer/use_regex","value":true}])",
       "pre_tokenizer.use_regex: not"},
      {R"([{"op":"remove","path":"/pre_tokenizer/use_regex"}])",
       "pre_tokenizer.use_regex: not supported: true"},
      {R"([{"op":"replace","path":"/pre_tokenizer/add_prefix_space","value":true}])",
       "add_prefix_space"},
      {R"([{"op":"add","path":"/pre_tokenizer/x","value":true}])",
       "pre_tokenizer.\"x\": not supported"},
      {R"([{"op":"remove","path":"/decoder"}])",
       "decoder: expected an object of type ByteLevel, found no such key"},
      {R"([{"op":"remove","path":"/decoder/type"}])", "decoder.type: not supported: null"},
      {R"([{"op":"replace","path":"/model/type","value":"Unigram"}])",
       "model.type: not supported: \"Unigram\""},
      {R"([{"op":"replace","path":"/model/merges","value":["a b"]}])",
       "model.merges: not supported: an array of 1"},
      {R"([{"op":"replace","path":"/model/unk_token","value":"<pad>"}])",
       "model.unk_token: not supported"},
      {R"([{"op":"replace","path":"/model/dropout","value":0.1}])",
       "model.dropout: not supported: 0.1"},
      {R"([{"op":"replace","path":"/model/byte_fallback","value":true}])",
       "model.byte_fallback: not"},
      {R"([{"op":"replace","path":"/model/ignore_merges","value":true}])",
       "model.ignore_merges: not"},
      {R"([{"op":"replace","path":"/model/end_of_word_suffix","value":"</w>"}])",
       "model.end_of_word_suffix"},
      {R"([{"op":"add","path":"/model/x","value":0}])", "model.\"x\": not supported"},
      {R"([{"op":"replace","path":"/model/vocab","value":[]}])",
       "vocab: expected an object of token: id"},
      {R"([{"op":"replace","path":"/model/vocab/a","value":"7"}])",
       "model.vocab: a: expected an integer"},
      {R"([{"op":"replace","path":"/model/vocab/a","value":-1}])",
       "a: expected an integer in 0..16777215, found -1"},
      {R"([{"op":"replace","path":"/model/vocab/a","value":16777216}])", "found 16777216"},
      {R"([{"op":"replace","path":"/model/vocab/a","value":23}])",
       "id 23 belongs to both \"a\" and \"b\""},
      {R"([{"op":"replace","path":"/model/vocab/j","value":40}])", "no token has the id 31"},
      {R"([{"op":"replace","path":"/added_tokens","value":{}}])",
       "added_tokens: expected an array"},
      {R"([{"op":"replace","path":"/added_tokens/3","value":"x"}])",
       "added_tokens[3].: not supported"},
      {R"([{"op":"replace","path":"/added_tokens/3/lstrip","value":true}])",
       "added_tokens[3].lstrip: not"},
      {R"([{"op":"replace","path":"/added_tokens/3/single_word","value":true}])",
       "added_tokens[3].single_word: not"},
      {R"([{"op":"replace","path":"/added_tokens/3/normalized","value":true}])",
       "added_tokens[3].normalized: not"},
      {R"([{"op":"replace","path":"/added_tokens/3/special","value":1}])",
       "added_tokens[3]: special: expected true"},
      {R"([{"op":"replace","path":"/added_tokens/3/content","value":""}])",
       "content: expected text, found \"\""},
      {R"([{"op":"replace","path":"/added_tokens/3/content","value":"<x>"}])",
       "its id 3 belongs to \"<think>\""},
      {R"([{"op":"replace","path":"/added_tokens/3/id","value":32}])",
       "token \"<think>\" has two ids, 3 and 32"},
      {R"([{"op":"remove","path":"/added_tokens/3/id"}])", "id: expected an integer"},
  };
  const json good = json::parse(*Tokenizer::BuiltinJson("chars"));
  for (const auto& c : kCases) {
    const auto parsed = Tokenizer::Parse(good.patch(json::parse(c.patch)).dump());
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.patch;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message)) << c.patch;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("tokenizer.json: "));
  }
  EXPECT_FALSE(Tokenizer::Parse("[]").ok());
  EXPECT_FALSE(Tokenizer::Parse("{").ok());
}

TEST(TokenizerTest, AnUnknownBuiltInIsAnsweredWithTheKnownOnes) {
  EXPECT_THAT(std::string(Tokenizer::BuiltinJson("char").status().message()),
              HasSubstr("expected one of bytes, chars, found \"char\"; did you mean \"chars\"?"));
}

}  // namespace
}  // namespace r1
