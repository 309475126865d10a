// Converting and comparing model folders.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/model_convert.h"
#include "common/model_diff.h"
#include "common/rng.h"
#include "common/safetensors.h"
#include "common/stored_model.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class ModelToolsTest : public testing::Test {
 protected:
  ModelToolsTest() : root_(testing::TempDir() + "r1_model_tools_" + std::to_string(getpid())) {
    R1_CHECK(RealFileSystem().CreateDirectories(JoinPath(root_, "a")).ok());
    a_ = JoinPath(root_, "a");
    b_ = JoinPath(root_, "b");
  }
  ~ModelToolsTest() override { R1_CHECK(RealFileSystem().RemoveAll(root_).ok()); }

  void Add(const std::string& name, DType dtype, std::vector<int64_t> shape,
           const std::vector<float>& values) {
    std::string bytes(values.size() * static_cast<size_t>(DTypeBytes(dtype)), '\0');
    FromFloats(values, dtype, bytes.data());
    AddBytes(name, dtype, std::move(shape), bytes);
  }
  void AddBytes(const std::string& name, DType dtype, std::vector<int64_t> shape,
                const std::string& bytes) {
    bytes_.push_back(std::make_unique<std::string>(bytes));
    tensors_.push_back(
        {.name = name, .dtype = dtype, .shape = std::move(shape), .bytes = *bytes_.back()});
  }
  void WriteModel(const std::string& folder) {
    ASSERT_TRUE(RealFileSystem().CreateDirectories(folder).ok());
    ASSERT_TRUE(
        WriteSafetensors(RealFileSystem(), JoinPath(folder, "model.safetensors"), tensors_).ok());
  }
  void WriteText(const std::string& path, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), JoinPath(root_, path), text).ok());
  }
  std::string Read(const std::string& path) {
    const auto text = RealFileSystem().Read(JoinPath(root_, path), 1 << 24);
    return text.ok() ? *text : std::string(text.status().message());
  }
  absl::StatusOr<ConvertReport> Convert(const ConvertOptions& options) {
    return ConvertModelFolder(RealFileSystem(), a_, b_, options);
  }
  std::vector<float> Floats(const std::string& folder, const std::string& name) {
    const auto model = StoredModel::Open(folder);
    const StoredTensor* tensor = model->FindOrNull(name);
    std::vector<float> values(static_cast<size_t>(tensor->view.elements()));
    EXPECT_TRUE(model->ReadFloats(*tensor, values).ok());
    return values;
  }

  const std::string root_;
  std::string a_, b_;
  std::vector<std::unique_ptr<std::string>> bytes_;
  std::vector<TensorView> tensors_;
};

TEST_F(ModelToolsTest, BlockScaledWeightsBecomePlainOnes) {
  std::vector<float> codes, expected;
  const std::vector<float> scales = {0.5, 2, -1, 4};
  for (int i = 0; i < 5 * 6; ++i) {
    codes.push_back(static_cast<float>(i % 9) - 4);
    expected.push_back(codes.back() * scales[static_cast<size_t>(i / 6 / 3 * 2 + i % 6 / 4)]);
  }
  Add("w.weight", DType::kF8E4M3, {5, 6}, codes);
  Add("w.weight_scale_inv", DType::kF32, {2, 2}, scales);
  Add("gate.e_score_correction_bias", DType::kF32, {2}, {1.00390625f, 3});
  AddBytes("counts", DType::kI64, {1}, "12345678");
  WriteModel(a_);
  WriteText("a/config.json", R"({"torch_dtype":"bfloat16","quantization_config":{"quant_method":)"
                             R"("fp8","weight_block_size":[3,4]},"a":1})");
  WriteText("a/tokenizer.json", "{ }");
  WriteText("a/chat_template.jinja", "t");
  WriteText("a/pytorch_model.bin", "not copied");
  const auto report = Convert({.dtype = DType::kBF16});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->tensors, 3);
  EXPECT_EQ(report->bytes, 60u + 8 + 8);
  EXPECT_EQ(Floats(b_, "w.weight"), expected);
  EXPECT_THAT(Floats(b_, "gate.e_score_correction_bias"), ElementsAre(1.00390625f, 3));
  EXPECT_EQ(StoredModel::Open(b_)->FindOrNull("counts")->view.bytes, "12345678");
  EXPECT_EQ(Read("b/config.json"), "{\n  \"torch_dtype\": \"bfloat16\",\n  \"a\": 1\n}\n");
  EXPECT_EQ(Read("b/tokenizer.json"), "{ }");
  EXPECT_EQ(Read("b/chat_template.jinja"), "t");
  EXPECT_THAT(*RealFileSystem().List(b_), ElementsAre("chat_template.jinja", "config.json",
                                                      "model.safetensors", "tokenizer.json"));
  // The values are the same; so a comparison says.
  const auto diff = DiffModels(*StoredModel::Open(a_), *StoredModel::Open(b_));
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_TRUE(diff->identical());
  EXPECT_EQ(diff->tensors.size(), 3u);
}

TEST_F(ModelToolsTest, KeepingTheDtypeKeepsTheBytes) {
  Add("b", DType::kBF16, {3}, {1, 2, 3});
  Add("a", DType::kF32, {2, 2}, {1e-30f, 2, 3, 4});
  AddBytes("empty", DType::kU8, {0}, "");
  WriteModel(a_);
  WriteText("a/config.json", "{\"dtype\": \"float32\" }");
  ASSERT_TRUE(Convert({}).ok());
  EXPECT_EQ(Read("b/model.safetensors"), Read("a/model.safetensors"));
  EXPECT_EQ(Read("b/config.json"), "{\"dtype\": \"float32\" }");

  // Shards: never more bytes than asked for, and back in one file the same bytes again.
  b_ = JoinPath(root_, "shards");
  const auto report = Convert({.dtype = std::nullopt, .shard_bytes_max = 8});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->shards, 3);  // a tensor larger than a shard forms one
  EXPECT_EQ(Read("shards/model.safetensors.index.json"),
            "{\n  \"metadata\": {\n    \"total_size\": 22\n  },\n  \"weight_map\": {\n"
            "    \"a\": \"model-00002-of-00003.safetensors\",\n"
            "    \"b\": \"model-00001-of-00003.safetensors\",\n"
            "    \"empty\": \"model-00003-of-00003.safetensors\"\n  }\n}\n");
  ASSERT_TRUE(ConvertModelFolder(RealFileSystem(), b_, JoinPath(root_, "one"), {}).ok());
  EXPECT_EQ(Read("one/model.safetensors"), Read("a/model.safetensors"));
}

TEST_F(ModelToolsTest, NarrowingRoundsAndNamesTheNewDtypeInItsDialect) {
  Add("w", DType::kF32, {4}, {1.00390625f, -2, 3.14159274f, 65504});
  WriteModel(a_);
  WriteText("a/config.json", R"({"dtype":"float32"})");
  ASSERT_TRUE(Convert({.dtype = DType::kF16}).ok());
  EXPECT_THAT(Floats(b_, "w"), ElementsAre(1.00390625f, -2, 3.140625f, 65504));
  EXPECT_EQ(Read("b/config.json"), "{\n  \"dtype\": \"float16\"\n}\n");
}

TEST_F(ModelToolsTest, WhatCannotBeConvertedIsNamedAndNothingIsLeft) {
  Add("w", DType::kF32, {3}, {1, 70000, 2});
  WriteModel(a_);
  EXPECT_THAT(std::string(Convert({.dtype = DType::kF16}).status().message()),
              HasSubstr("tensor \"w\": expected finite values, in F16 one becomes infinity at "
                        "element 1 of 3"));
  tensors_.clear();
  Add("v", DType::kBF16, {2}, {1, kNan});
  WriteModel(a_);
  for (const ConvertOptions& options : {ConvertOptions{}, ConvertOptions{.dtype = DType::kF32}}) {
    EXPECT_THAT(std::string(Convert(options).status().message()),
                HasSubstr("tensor \"v\": expected finite values, found NaN at element 1 of 2"));
  }
  EXPECT_THAT(*RealFileSystem().List(root_), ElementsAre("a"));
  tensors_.clear();
  Add("v", DType::kBF16, {1}, {1});
  WriteModel(a_);
  WriteModel(b_);
  EXPECT_THAT(std::string(Convert({}).status().message()),
              HasSubstr("expected a folder that does not exist yet, or is empty"));
  EXPECT_THAT(std::string(ConvertModelFolder(RealFileSystem(), a_, a_, {}).status().message()),
              HasSubstr("or is empty"));
}

TEST_F(ModelToolsTest, DifferencesAreFoundByTensor) {
  Add("same", DType::kF32, {2}, {1, kNan});
  Add("gone", DType::kF32, {1}, {1});
  Add("shape", DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  Add("values", DType::kF32, {4}, {1, 2, -3, 4});
  Add("nan", DType::kF32, {1}, {1});
  AddBytes("integers", DType::kI32, {1}, std::string("\5\0\0\0", 4));
  WriteModel(a_);
  tensors_.clear();
  Add("same", DType::kF32, {2}, {1, kNan});
  Add("new", DType::kF16, {1}, {1});
  Add("shape", DType::kF32, {3, 2}, {1, 2, 3, 4, 5, 6});
  Add("values", DType::kBF16, {4}, {1, 2.5, 3, 4});
  Add("nan", DType::kF32, {1}, {kNan});
  AddBytes("integers", DType::kI32, {1}, std::string("\2\0\0\0", 4));
  WriteModel(b_);
  const auto diff = DiffModels(*StoredModel::Open(a_), *StoredModel::Open(b_));
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_FALSE(diff->identical());
  std::vector<std::string> lines;
  for (const TensorDiff& tensor : diff->tensors) {
    lines.push_back(absl::StrCat(tensor.name, "|", tensor.problem, "|", tensor.dtypes, "|",
                                 tensor.elements_different, "|", tensor.difference_max));
  }
  EXPECT_THAT(lines, ElementsAre(absl::StrCat("gone|only in ", a_, "|F32|0|0"), "integers||I32|1|3",
                                 "nan||F32|1|inf", absl::StrCat("new|only in ", b_, "|F16|0|0"),
                                 "same||F32|0|0", "shape|shape [2, 3] and [3, 2]|F32|0|0",
                                 "values||F32, BF16|2|6"));
}

TEST_F(ModelToolsTest, PartsOfABlockScaledWeightAreThoseOfTheWhole) {
  Rng rng(1, 0, RngPurpose::kTest, 0, 0);
  std::vector<float> codes, scales;
  for (int i = 0; i < 37 * 29; ++i) codes.push_back(static_cast<float>(rng.NextBelow(400)));
  for (int i = 0; i < 4 * 5; ++i) scales.push_back(static_cast<float>(1 + rng.NextBelow(9)));
  Add("w", DType::kF8E4M3, {37, 29}, codes);
  Add("w_scale_inv", DType::kF32, {4, 5}, scales);
  WriteModel(a_);
  WriteText("a/config.json",
            R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[10,6]}})");
  const std::vector<float> whole = Floats(a_, "w");
  const auto model = StoredModel::Open(a_);
  const StoredTensor& tensor = *model->FindOrNull("w");
  for (int i = 0; i < 200; ++i) {
    const size_t begin = rng.NextBelow(whole.size());
    std::vector<float> part(rng.NextBelow(whole.size() - begin) + 1);
    ASSERT_TRUE(model->ReadFloats(tensor, part, static_cast<int64_t>(begin)).ok());
    const auto at = whole.begin() + static_cast<ptrdiff_t>(begin);
    EXPECT_EQ(part, std::vector<float>(at, at + static_cast<ptrdiff_t>(part.size())));
  }
}

}  // namespace
}  // namespace r1
