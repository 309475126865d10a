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
      {R"([{"op":"replace","path":"/normalizer","value":{"type":"NFKC"}}])",
       "normalizer.type: not supported: \"NFKC\""},
      {R"([{"op":"replace","path":"/normalizer","value":{"type":"NFC","x":1}}])",
       "normalizer.\"x\": not supported: 1"},
      {R"([{"op":"replace","path":"/normalizer","value":"NFC"}])", "normalizer: not supported"},
      {R"([{"op":"replace","path":"/normalizer","value":{"type":"Sequence"}}])",
       "normalizer: normalizers: expected an array, found no such key"},
      {R"([{"op":"replace","path":"/normalizer","value":{"type":"Sequence","normalizers":[
           {"type":"NFC"},{"type":"Lowercase"}]}}])",
       "normalizer.normalizers[1].type: not supported: \"Lowercase\""},
      {R"([{"op":"replace","path":"/post_processor","value":{"type":"BertProcessing"}}])",
       "post_processor.type: not supported: \"BertProcessing\""},
      {R"([{"op":"replace","path":"/truncation","value":{}}])", "truncation: not supported"},
      {R"([{"op":"replace","path":"/padding","value":1}])", "padding: not supported: 1"},
      {R"([{"op":"replace","path":"/version","value":"2.0"}])", "version: not supported: \"2.0\""},
      {R"([{"op":"add","path":"/new","value":1}])", "\"new\": not supported"},
      {R"([{"op":"replace","path":"/pre_tokenizer","value":null}])",
       "pre_tokenizer: expected an object of type"},
      {R"([{"op":"replace","path":"/pre_tokenizer/type","value":"Whitespace"}])",
       "pre_tokenizer.type: not supported: \"Whitespace\""},
      {R"([{"op":"replace","path":"/pre_tokenizer/use_regex","value":1}])",
       "pre_tokenizer: use_regex: expected true or false, found 1"},
      {R"([{"op":"add","path":"/pre_tokenizer/x","value":true}])",
       "pre_tokenizer.\"x\": not supported"},
      {R"([{"op":"remove","path":"/decoder"}])",
       "decoder: expected an object of type ByteLevel, found no such key"},
      {R"([{"op":"remove","path":"/decoder/type"}])", "decoder.type: not supported: null"},
      {R"([{"op":"replace","path":"/model/type","value":"Unigram"}])",
       "model.type: not supported: \"Unigram\""},
      {R"([{"op":"replace","path":"/model/merges","value":{}}])",
       "model: merges: expected an array, found an object of 0 keys"},
      {R"([{"op":"replace","path":"/model/merges","value":["a b"]}])",
       "model.merges[0]: token \"ab\" is not in the vocabulary"},
      {R"([{"op":"replace","path":"/model/merges","value":[["x","b"]]}])",
       "model.merges[0]: token \"x\" is not in the vocabulary"},
      {R"([{"op":"replace","path":"/model/merges","value":["a b c"]}])",
       "model.merges[0]: expected two tokens, found \"a b c\""},
      {R"([{"op":"replace","path":"/model/merges","value":[["a",1]]}])",
       "model.merges[0]: expected two tokens, found an array of 2"},
      {R"([{"op":"add","path":"/model/vocab/ab","value":32},
           {"op":"replace","path":"/model/merges","value":["a b","a b"]}])",
       "model.merges[1]: the same pair as model.merges[0]"},
      {R"([{"op":"replace","path":"/model/unk_token","value":"<pad>"}])",
       "model.unk_token: not supported"},
      {R"([{"op":"replace","path":"/model/dropout","value":0.1}])",
       "model.dropout: not supported: 0.1"},
      {R"([{"op":"replace","path":"/model/byte_fallback","value":true}])",
       "model.byte_fallback: not"},
      {R"([{"op":"replace","path":"/model/ignore_merges","value":0}])",
       "model: ignore_merges: expected true or false, found 0"},
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
      {R"([{"op":"replace","path":"/added_tokens/3/rstrip","value":true}])",
       "added_tokens[3].rstrip: not"},
      {R"([{"op":"replace","path":"/added_tokens/3/normalized","value":2}])",
       "added_tokens[3]: normalized: expected true or false, found 2"},
      {R"([{"op":"add","path":"/added_tokens/-","value":{"id":34,"content":"new"}}])",
       "added token \"new\": expected the id 32, the first one free, found 34"},
      {R"([{"op":"add","path":"/added_tokens/-","value":{"id":3,"content":"<think>"}}])",
       "added token \"<think>\": another one has the same text"},
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

TEST(TokenizerTest, UnsupportedSplitsAreNamed) {
  const struct {
    const char* parts;
    const char* message;
  } kCases[] = {
      {R"([])", "pre_tokenizer: a Sequence without ByteLevel"},
      {R"([{"type":"ByteLevel"},{"type":"Split"}])",
       "pre_tokenizer.pretokenizers[1]: a part after ByteLevel"},
      {R"([{"type":"Digits","individual_digits":true}])",
       "pre_tokenizer.pretokenizers[0].type: not supported: \"Digits\""},
      {R"([7])", "pre_tokenizer.pretokenizers[0]: not supported: 7"},
      {R"([{"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed","invert":false}])",
       "pretokenizers[0].behavior: not supported: \"Removed\""},
      {R"([{"type":"Split","pattern":{"Regex":"a"},"invert":false}])",
       "pretokenizers[0]: behavior: expected \"Isolated\", found no such key"},
      {R"([{"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated","invert":true}])",
       "pretokenizers[0].invert: not supported: true"},
      {R"([{"type":"Split","pattern":{"String":"a"},"behavior":"Isolated","invert":false}])",
       "pattern.\"String\": not supported: \"a\""},
      {R"([{"type":"Split","pattern":"a","behavior":"Isolated","invert":false}])",
       "pretokenizers[0]: pattern: expected an object, found \"a\""},
      {R"([{"type":"Split","pattern":{"Regex":"\\d+"},"behavior":"Isolated"},
           {"type":"ByteLevel"}])",
       "regular expression \"\\\\d+\": the escape \"\\\\d+\" at byte 0: not supported"},
      {R"([{"type":"Split","pattern":{"Regex":"a*"},"behavior":"Isolated"},
           {"type":"ByteLevel"}])",
       "it can match the empty text: not supported"},
  };
  json root = json::parse(*Tokenizer::BuiltinJson("chars"));
  for (const auto& c : kCases) {
    root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::parse(c.parts)}};
    const auto parsed = Tokenizer::Parse(root.dump());
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.parts;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message)) << c.parts;
  }
}

TEST(TokenizerTest, UnsupportedTemplatesAreNamed) {
  const struct {
    const char* part;
    const char* message;
  } kCases[] = {
      {R"({"single":1})", "post_processor: single: expected an array, found 1"},
      {R"({"single":[]})", "post_processor.single: not exactly one Sequence \"A\": not supported"},
      {R"({"single":["$A"]})", "post_processor.single[0]: not supported: \"$A\""},
      {R"({"single":[{"Sequence":{"id":"B"}}]})",
       "post_processor.single[0].\"Sequence\": not supported: \"B\""},
      {R"({"single":[{"SpecialToken":{"id":"<bos>"}}]})",
       "post_processor: special_tokens: expected an object, found no such key"},
      {R"({"single":[{"SpecialToken":{"id":"<bos>"}}],"special_tokens":{}})",
       "special_tokens: \"<bos>\": expected an object with a list of ids"},
      {R"({"single":[{"SpecialToken":{"id":"<bos>"}}],"special_tokens":{"<bos>":{"ids":[-1]}}})",
       "special_tokens: \"<bos>\": expected an object with a list of ids"},
      {R"({"single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],
           "special_tokens":{"x":{"ids":[32]}}})",
       "post_processor: no token has the id 32"},
      {R"({"x":1})", "post_processor.\"x\": not supported: 1"},
  };
  json root = json::parse(*Tokenizer::BuiltinJson("chars"));
  for (const auto& c : kCases) {
    root["post_processor"] = json::parse(c.part);
    root["post_processor"]["type"] = "TemplateProcessing";
    const auto parsed = Tokenizer::Parse(root.dump());
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.part;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message)) << c.part;
  }
}

TEST(TokenizerTest, TheTemplateStandsAroundTheText) {
  json root = json::parse(*Tokenizer::BuiltinJson("chars"));
  EXPECT_THAT((*Tokenizer::Parse(root.dump()))->AddSpecialTokens({7}), ElementsAre(7));
  root["post_processor"] = json::parse(R"({"type":"Sequence","processors":[{"type":"ByteLevel"},
      {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"b","type_id":0}},
       {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}}],
       "special_tokens":{"b":{"id":"b","ids":[1,0],"tokens":["b","p"]},"e":{"ids":[2]}}}]})");
  const auto tokenizer = Tokenizer::Parse(root.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->AddSpecialTokens({7}), ElementsAre(1, 0, 7, 2));
  EXPECT_THAT((*tokenizer)->AddSpecialTokens({}), ElementsAre(1, 0, 2));
  EXPECT_THAT(*(*tokenizer)->Encode("0"), ElementsAre(7));
}

TEST(TokenizerTest, TheConfigNamesBosAndEos) {
  const std::string chars = *Tokenizer::BuiltinJson("chars");
  const std::string config =
      R"({"bos_token": {"content": "<pad>", "lstrip": false}, "eos_token": "</answer>"})";
  const auto tokenizer = Tokenizer::Parse(chars, config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->bos_id(), 0);
  EXPECT_EQ((*tokenizer)->eos_id(), 6);
  EXPECT_EQ((*tokenizer)->config_json(), config);
  EXPECT_THAT((*tokenizer)->AddSpecialTokens({7}), ElementsAre(7));
  const auto adds = Tokenizer::Parse(chars, R"({"bos_token": "<bos>", "add_bos_token": true})");
  ASSERT_TRUE(adds.ok()) << adds.status();
  EXPECT_EQ((*adds)->eos_id(), -1);
  EXPECT_THAT((*adds)->AddSpecialTokens({7}), ElementsAre(1, 7));
  // Silent about bos: as the post-processor begins a text.
  json root = json::parse(chars);
  root["post_processor"] = json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}},
          {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"x":{"ids":[5]}}})");
  EXPECT_EQ((*Tokenizer::Parse(root.dump(), R"({"eos_token": "<eos>"})"))->bos_id(), 5);
  EXPECT_EQ((*Tokenizer::Parse(root.dump(), R"({"bos_token": null})"))->bos_id(), -1);
}

TEST(TokenizerTest, MalformedConfigsAreNamed) {
  const struct {
    const char* config;
    const char* message;
  } kCases[] = {
      {"[]", "tokenizer_config.json: expected an object"},
      {"{", "tokenizer_config.json: "},
      {R"({"eos_token": 3})", "eos_token: expected a token, found 3"},
      {R"({"eos_token": "<|end|>"})", "eos_token: \"<|end|>\" is not in the vocabulary"},
      {R"({"add_bos_token": true})", "bos_token: expected a token, found no such key"},
      {R"({"add_bos_token": 1})", "add_bos_token: expected true or false, found 1"},
      {R"({"add_eos_token": true})", "add_eos_token: not supported: true"},
  };
  for (const auto& c : kCases) {
    const auto parsed = Tokenizer::Parse(*Tokenizer::BuiltinJson("chars"), c.config);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.config;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message)) << c.config;
  }
}

TEST(TokenizerTest, AnUnknownBuiltInIsAnsweredWithTheKnownOnes) {
  EXPECT_THAT(std::string(Tokenizer::BuiltinJson("char").status().message()),
              HasSubstr("expected one of bytes, chars, found \"char\"; did you mean \"chars\"?"));
}

}  // namespace
}  // namespace r1
