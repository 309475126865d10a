// Byte-level BPE against Hugging Face's tokenizers: small tokenizers with the settings of each
// family (tests/golden/bpe_*), and, where R1_TOKENIZERS names a folder made by
// tests/golden/make_bpe_cases.py, the published ones.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/filesystem.h"
#include "common/incremental_decoder.h"
#include "common/jsonl.h"
#include "common/tokenizer.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr char kGolden[] = "tests/golden/";

std::string ReadFile(const std::string& path) {
  const auto text = RealFileSystem().Read(path, 200 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  return *text;
}

std::unique_ptr<Tokenizer> ParseFile(const std::string& path, const std::string& config = "") {
  auto tokenizer = Tokenizer::Parse(ReadFile(path), config);
  EXPECT_TRUE(tokenizer.ok()) << path << ": " << tokenizer.status();
  return *std::move(tokenizer);
}

std::string DecodeInParts(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  IncrementalDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = decoder.Append(id);
    EXPECT_TRUE(IsValidUtf8(part));
    text += part;
  }
  return text + decoder.Finish();
}

// Every row of a file of make_bpe_cases.py, or of the same form; returns how many.
int CheckCases(const Tokenizer& tokenizer, const std::string& path) {
  const auto reader = JsonlReader::Open(path);
  EXPECT_TRUE(reader.ok()) << reader.status();
  int rows = 0;
  for (JsonlRow row; *(*reader)->Next(row); ++rows) {
    EXPECT_TRUE(row.status.ok()) << row.status;
    const json& expected = row.object;
    const auto ids = expected["ids"].get<Ids>();
    std::string decoded;
    if (expected.contains("text")) {
      decoded = expected["text"].get<std::string>();
      const auto encoded = tokenizer.Encode(decoded);
      EXPECT_TRUE(encoded.ok()) << row.where << ": " << encoded.status();
      EXPECT_EQ(*encoded, ids) << row.where;
      if (expected.contains("with_special")) {
        EXPECT_EQ(tokenizer.AddSpecialTokens(ids), expected["with_special"].get<Ids>());
      }
    }
    if (expected.contains("decoded")) decoded = expected["decoded"].get<std::string>();
    EXPECT_EQ(tokenizer.Decode(ids), decoded) << row.where;
    EXPECT_EQ(DecodeInParts(tokenizer, ids, false), decoded) << row.where;
    std::string skipped = decoded;
    if (expected.contains("decoded_skip_special")) {
      skipped = expected["decoded_skip_special"].get<std::string>();
    }
    EXPECT_EQ(tokenizer.Decode(ids, true), skipped) << row.where;
    EXPECT_EQ(DecodeInParts(tokenizer, ids, true), skipped) << row.where;
    if (testing::Test::HasFailure()) break;  // one row says enough
  }
  return rows;
}

class SmallTokenizerTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, SmallTokenizerTest,
                         testing::Values("deepseek_r1_distill_qwen", "deepseek_v3", "gpt2_nfc",
                                         "llama3", "qwen2", "qwen3"));

TEST_P(SmallTokenizerTest, IdsAndTextsEqualHuggingFace) {
  const std::string path = kGolden + ("bpe_" + GetParam());
  EXPECT_EQ(CheckCases(*ParseFile(path + ".json"), path + ".jsonl"), 60);
}

TEST_P(SmallTokenizerTest, TextWithoutAddedTokensNeverBecomesOne) {
  const auto tokenizer = ParseFile(kGolden + ("bpe_" + GetParam()) + ".json");
  const json root = json::parse(tokenizer->json());
  for (const json& added : root["added_tokens"]) {
    const auto content = added["content"].get<std::string>();
    const auto id = added["id"].get<int32_t>();
    const std::string text = "x" + content + content + " y";
    const auto parsed = tokenizer->Encode(text);
    const auto plain = tokenizer->Encode(text, /*parse_added_tokens=*/false);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_EQ(std::count(parsed->begin(), parsed->end(), id), 2) << content;
    EXPECT_EQ(std::count(plain->begin(), plain->end(), id), 0) << content;
    if (GetParam() != "gpt2_nfc") {
      EXPECT_EQ(tokenizer->Decode(*plain), text);
    }
  }
}

TEST_P(SmallTokenizerTest, InvalidUtf8IsRefused) {
  const auto tokenizer = ParseFile(kGolden + ("bpe_" + GetParam()) + ".json");
  const auto ids = tokenizer->Encode("ab\xFF");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), HasSubstr("invalid UTF-8 at byte 2"));
}

// Seconds, were anything quadratic in the length of a piece; the bound leaves room for sanitizers.
TEST_P(SmallTokenizerTest, LongPiecesTakeTimeInProportion) {
  const auto tokenizer = ParseFile(kGolden + ("bpe_" + GetParam()) + ".json");
  for (const char* unit : {"a", "the", " ", "=", "\n", "7", "\u4F60", "\u0301", "<", "\u200B"}) {
    std::string text;
    while (text.size() < 300'000) text += unit;
    const double begin = RealClock().MonotonicSeconds();
    const auto ids = tokenizer->Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_LT(RealClock().MonotonicSeconds() - begin, 5) << unit;
    const std::string decoded = tokenizer->Decode(*ids);
    EXPECT_EQ(decoded.substr(decoded.size() - text.size()), text);
  }
}

TEST(BpeTokenizerTest, ThreadsShareOneTokenizer) {
  const auto tokenizer = ParseFile("tests/golden/bpe_deepseek_v3.json");
  const std::string text = "Wait, 12345 你好 don't\n\n <think>é</think>   x = [1, 2]";
  const Ids expected = *tokenizer->Encode(text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        EXPECT_EQ(*tokenizer->Encode(text), expected);
        EXPECT_EQ(tokenizer->Decode(expected), text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(BpeTokenizerTest, AMissingCharacterIsNamedWithItsPlace) {
  json root = json::parse(ReadFile("tests/golden/bpe_llama3.json"));
  root["model"]["merges"] = json::array();
  json vocab = json::object();
  for (const char* token : {"a", "b", "\u0120"}) vocab[token] = vocab.size();
  root["model"]["vocab"] = vocab;
  root["added_tokens"] = json::array();
  root["post_processor"] = nullptr;
  const auto tokenizer = Tokenizer::Parse(root.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(*(*tokenizer)->Encode("ab a"), ElementsAre(0, 1, 2, 0));
  EXPECT_EQ((*tokenizer)->Encode("a bxa").status().message(),
            "character \"x\" at byte 3 of the text is not in the vocabulary");
  root["normalizer"] = {{"type", "NFC"}};
  EXPECT_THAT(std::string((*Tokenizer::Parse(root.dump()))->Encode("e").status().message()),
              HasSubstr("at byte 0 of the normalized text"));
  root["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  EXPECT_EQ((*Tokenizer::Parse(root.dump()))->Encode("e").status().message(),
            "character \"e\" is not in the vocabulary");
}

TEST(BpeTokenizerTest, AFolderIsLoadedWithItsConfig) {
  const std::string folder = testing::TempDir() + "/r1_tokenizer_folder";
  FileSystem& files = RealFileSystem();
  ASSERT_TRUE(files.RemoveAll(folder).ok());
  ASSERT_TRUE(files.CreateDirectories(folder).ok());
  EXPECT_EQ(Tokenizer::Load(folder).status().code(), absl::StatusCode::kNotFound);
  const std::string json_text = ReadFile("tests/golden/bpe_llama3.json");
  ASSERT_TRUE(WriteFileAtomically(files, JoinPath(folder, "tokenizer.json"), json_text).ok());
  const auto silent = Tokenizer::Load(folder);
  ASSERT_TRUE(silent.ok()) << silent.status();
  // Named by the template alone; no file says how a text ends.
  EXPECT_EQ((*silent)->bos_id(), (*silent)->TokenId("<|begin_of_text|>"));
  EXPECT_EQ((*silent)->eos_id(), -1);
  const std::string config = R"({"bos_token":"<|begin_of_text|>","eos_token":"<|eot_id|>"})";
  const std::string config_path = JoinPath(folder, "tokenizer_config.json");
  ASSERT_TRUE(WriteFileAtomically(files, config_path, config).ok());
  const auto loaded = Tokenizer::Load(folder);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->eos_id(), (*loaded)->TokenId("<|eot_id|>"));
  EXPECT_EQ((*loaded)->config_json(), config);
  ASSERT_TRUE(WriteFileAtomically(files, config_path, R"({"eos_token":"?!"})").ok());
  EXPECT_THAT(std::string(Tokenizer::Load(folder).status().message()), HasSubstr(folder));
  ASSERT_TRUE(files.RemoveAll(folder).ok());
}

class PublishedTokenizerTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, PublishedTokenizerTest,
                         testing::Values("deepseek_r1_distill_qwen", "deepseek_v3", "llama3",
                                         "qwen2", "qwen3"));

TEST_P(PublishedTokenizerTest, IdsAndTextsEqualHuggingFace) {
  const char* folder = std::getenv("R1_TOKENIZERS");
  if (folder == nullptr) {
    GTEST_SKIP() << "R1_TOKENIZERS is not set: a folder of tests/golden/make_bpe_cases.py full";
  }
  const std::string family = JoinPath(folder, GetParam());
  const auto tokenizer = Tokenizer::Load(family);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto files = RealFileSystem().List(family);
  ASSERT_TRUE(files.ok()) << files.status();
  int rows = 0;
  for (const std::string& name : *files) {
    if (name.size() < 6 || name.substr(name.size() - 6) != ".jsonl") continue;
    const int found = CheckCases(**tokenizer, JoinPath(family, name));
    std::cout << GetParam() << "/" << name << ": " << found << " cases\n";
    rows += found;
  }
  EXPECT_GT(rows, 0);
}

}  // namespace
}  // namespace r1
