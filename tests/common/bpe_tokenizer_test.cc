// Byte-level BPE against Hugging Face's tokenizers: small tokenizers with the settings of each
// family (tests/golden/bpe_*), and, where R1_TOKENIZERS names a folder made by
// tests/golden/make_bpe_cases.py, the published ones.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/incremental_decoder.h"
#include "common/jsonl.h"
#include "common/rng.h"
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
