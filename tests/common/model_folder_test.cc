// Weights of a Hugging Face folder against a ModelSpec, and the digest and checks of a snapshot.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "common/safetensors.h"
#include "common/weights.h"

namespace r1 {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Tensors that own their bytes, to be broken one way or another before they are written.
struct OwnedTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

std::string FloatBytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

class ModelFolderTest : public testing::Test {
 protected:
  ModelFolderTest() : folder_(testing::TempDir() + "r1_model_folder_" + std::to_string(getpid())) {
    R1_CHECK(RealFileSystem().CreateDirectories(folder_).ok());
    spec_ = *ParseModelSpec(*PresetConfigJson("moe_tiny", 32, 1, 2));
    for (size_t i = 0; i < spec_.weights.size(); ++i) {
      const WeightSpec& weight = spec_.weights[i];
      std::vector<float> values(static_cast<size_t>(weight.elements()));
      for (size_t k = 0; k < values.size(); ++k)
        values[k] = static_cast<float>(i) + 0.25f * static_cast<float>(k % 7);
      tensors_.push_back({weight.name, DType::kF32, weight.shape, FloatBytes(values)});
    }
  }
  ~ModelFolderTest() override { R1_CHECK(RealFileSystem().RemoveAll(folder_).ok()); }

  void Write(const std::string& name, size_t begin, size_t end) {
    std::vector<TensorView> views;
    for (size_t i = begin; i < end; ++i) {
      const OwnedTensor& t = tensors_[i];
      views.push_back({.name = t.name, .dtype = t.dtype, .shape = t.shape, .bytes = t.bytes});
    }
    R1_CHECK(WriteSafetensors(RealFileSystem(), JoinPath(folder_, name), views).ok());
  }
  void WriteSingle() { Write("model.safetensors", 0, tensors_.size()); }
  void WriteText(const std::string& name, const std::string& text) {
    R1_CHECK(WriteFileAtomically(RealFileSystem(), JoinPath(folder_, name), text).ok());
  }
  std::string ErrorMessage() {
    const auto read = ReadModelFolder(folder_, spec_);
    EXPECT_FALSE(read.ok());
    return std::string(read.status().message());
  }

  const std::string folder_;
  ModelSpec spec_;
  std::vector<OwnedTensor> tensors_;
};

TEST_F(ModelFolderTest, OneFileIsReadInTheOrderOfTheSpec) {
  std::reverse(tensors_.begin(), tensors_.end());
  WriteSingle();
  const auto snapshot = ReadModelFolder(folder_, spec_);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(CheckWeights(spec_, *snapshot, "x").ok());
  for (size_t i = 0; i < spec_.weights.size(); ++i) {
    EXPECT_EQ(snapshot->tensors[i].name, spec_.weights[i].name);
    EXPECT_EQ(snapshot->tensors[i].bytes, tensors_[tensors_.size() - 1 - i].bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(snapshot->tensors[i].bytes.data()) % 64, 0u);
  }
  int64_t elements = 0;
  for (const WeightSpec& weight : spec_.weights) elements += weight.elements();
  EXPECT_EQ(snapshot->bytes_total(), static_cast<uint64_t>(4 * elements));
}

TEST_F(ModelFolderTest, ShardsAreReadThroughTheIndex) {
  WriteSingle();
  const uint64_t digest = ReadModelFolder(folder_, spec_)->Digest();
  ASSERT_TRUE(RealFileSystem().RemoveAll(JoinPath(folder_, "model.safetensors")).ok());
  Write("model-00001-of-00002.safetensors", 0, 5);
  Write("model-00002-of-00002.safetensors", 5, tensors_.size());
  std::string map;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    map += (i == 0 ? "\"" : ",\"") + tensors_[i].name + "\":\"model-0000" + (i < 5 ? "1" : "2") +
           "-of-00002.safetensors\"";
  }
  const auto index = [](const std::string& weight_map) {
    return "{\"metadata\":{\"total_size\":1},\"weight_map\":{" + weight_map + "}}";
  };
  WriteText("model.safetensors.index.json", index(map));
  const auto snapshot = ReadModelFolder(folder_, spec_);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->Digest(), digest);

  WriteText("model.safetensors.index.json",
            index(map + ",\"ghost\":\"model-00002-of-00002.safetensors\""));
  EXPECT_THAT(ErrorMessage(),
              HasSubstr("weight_map says that tensor \"ghost\" is in \"model-00002"));
  WriteText("model.safetensors.index.json", index("\"a\":\"../model-00001-of-00002.safetensors\""));
  EXPECT_THAT(ErrorMessage(),
              HasSubstr("expected the name of a .safetensors file, found \"../model"));
  WriteText("model.safetensors.index.json", index("\"a\":\"pytorch_model.bin\""));
  EXPECT_THAT(ErrorMessage(), HasSubstr("expected the name of a .safetensors file"));
  WriteText("model.safetensors.index.json", "{\"weight_map\":[]}");
  EXPECT_THAT(ErrorMessage(), HasSubstr("weight_map: expected an object"));
  WriteText("model.safetensors.index.json", index("\"a\":\"gone.safetensors\""));
  EXPECT_THAT(ErrorMessage(), HasSubstr("gone.safetensors: open"));
}

TEST_F(ModelFolderTest, ATensorInTwoShardsIsRefused) {
  Write("one.safetensors", 0, 6);
  Write("two.safetensors", 5, tensors_.size());
  WriteText("model.safetensors.index.json",
            "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}");
  EXPECT_THAT(ErrorMessage(),
              AllOf(HasSubstr("two.safetensors: tensor \"" + tensors_[5].name + "\" is also in"),
                    HasSubstr("one.safetensors")));
}

TEST_F(ModelFolderTest, HalfPrecisionIsWidenedExactly) {
  // Router bias [4] as BF16 and final norm [32] as F16, with values that name every class of half.
  const struct {
    uint16_t bits;
    float value;
  } kHalves[] = {{0x0000, 0.f},      {0x8000, -0.f},          {0x3C00, 1.f},
                 {0xC000, -2.f},     {0x7BFF, 65504.f},       {0x0400, 0x1p-14f},
                 {0x0001, 0x1p-24f}, {0x83FF, -0x1.ff8p-15f}, {0x3555, 0x1.554p-2f}};
  OwnedTensor& norm = tensors_[static_cast<size_t>(*spec_.FindWeight(WeightRole::kFinalNorm))];
  norm.dtype = DType::kF16;
  norm.bytes.clear();
  for (size_t i = 0; i < 32; ++i) {
    const uint16_t bits = kHalves[i % std::size(kHalves)].bits;
    norm.bytes.append(reinterpret_cast<const char*>(&bits), 2);
  }
  OwnedTensor& bias = tensors_[static_cast<size_t>(*spec_.FindWeight(WeightRole::kRouterBias, 1))];
  bias.dtype = DType::kBF16;
  bias.bytes =
      std::string("\x80\x3f\x00\xc0\x01\x00\x7f\x7f", 8);  // 1, -2, the least, the greatest
  WriteSingle();
  const auto snapshot = ReadModelFolder(folder_, spec_);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  const auto values =
      snapshot->tensors[static_cast<size_t>(*spec_.FindWeight(WeightRole::kFinalNorm))].f32();
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(values[i], kHalves[i % std::size(kHalves)].value);
    EXPECT_EQ(std::signbit(values[i]), std::signbit(kHalves[i % std::size(kHalves)].value));
  }
  const auto biases =
      snapshot->tensors[static_cast<size_t>(*spec_.FindWeight(WeightRole::kRouterBias, 1))].f32();
  EXPECT_THAT(std::vector<float>(biases.begin(), biases.end()),
              testing::ElementsAre(1.f, -2.f, 0x1p-133f, 0x1.fep127f));
}

TEST_F(ModelFolderTest, BlockScaledWeightsAreMultipliedByTheirScales) {
  // lm_head [32, 32] in blocks of 12 x 20: a grid of 3 x 2 with ragged edges.
  OwnedTensor& head = tensors_.back();
  const OwnedTensor plain = head;
  ASSERT_EQ(head.name, "lm_head.weight");
  head.dtype = DType::kF8E4M3;
  head.bytes.assign(32 * 32, 0);
  std::vector<float> expected(32 * 32);
  const std::vector<float> scales = {1, -2, 0.5, 3, 1e-3f, 7};
  for (size_t i = 0; i < expected.size(); ++i) {
    head.bytes[i] = static_cast<char>(i % 120);
    expected[i] =
        F8E4M3ToFloat(static_cast<uint8_t>(i % 120)) * scales[i / 32 / 12 * 2 + i % 32 / 20];
  }
  const auto config = [](const std::string& quantization) {
    return "{\"quantization_config\":" + quantization + "}";
  };
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("\"lm_head.weight\": expected its scales in tensor "
                                        "lm_head.weight_scale_inv, found no such tensor"));
  tensors_.push_back({"lm_head.weight_scale_inv", DType::kF32, {3, 2}, FloatBytes(scales)});
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("config.json has no quantization_config"));
  WriteText("config.json", config("{\"quant_method\":\"gptq\"}"));
  EXPECT_THAT(ErrorMessage(), HasSubstr("quant_method: expected \"fp8\", the only one supported, "
                                        "found \"gptq\""));
  WriteText("config.json", config("{\"quant_method\":\"fp8\",\"weight_block_size\":[0,1]}"));
  EXPECT_THAT(ErrorMessage(), HasSubstr("weight_block_size: expected two sizes"));
  WriteText("config.json", config("{\"quant_method\":\"fp8\",\"weight_block_size\":[12,12]}"));
  EXPECT_THAT(ErrorMessage(), HasSubstr("lm_head.weight_scale_inv: expected shape [3, 3] for a "
                                        "weight of [32, 32] in blocks of 12 x 12, found [3, 2]"));
  WriteText("config.json", config("{\"quant_method\":\"fp8\",\"weight_block_size\":[12,20]}"));
  const auto snapshot = ReadModelFolder(folder_, spec_);
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  const auto values = snapshot->tensors.back().f32();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()), expected);

  tensors_[tensors_.size() - 2].bytes[40] = 0x7F;
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("lm_head.weight: expected finite values, found NaN at"));
  tensors_[tensors_.size() - 2] = plain;  // scales of a weight that is none of F8_E4M3
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("\"lm_head.weight_scale_inv\" of shape [3, 2] is not"));
}

TEST_F(ModelFolderTest, MultiTokenPredictionLayersAreSkipped) {
  const auto add = [this](const std::string& name) {
    tensors_.push_back({name, DType::kF32, {1}, FloatBytes({1})});
  };
  add("model.layers.2.enorm.weight");
  add("model.layers.2.embed_tokens.weight");
  WriteSingle();
  EXPECT_THAT(ErrorMessage(),
              HasSubstr("tensor \"model.layers.2.enorm.weight\" of shape [1] is not a weight"));
  spec_.mtp_layers = 1;  // announced by config.json
  EXPECT_TRUE(ReadModelFolder(folder_, spec_).ok());
  spec_.mtp_layers = 0;
  add("model.layers.2.eh_proj.weight");  // or seen in the file
  WriteSingle();
  EXPECT_TRUE(ReadModelFolder(folder_, spec_).ok());
  add("model.layers.20.enorm.weight");
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("model.layers.20.enorm.weight"));
}

TEST_F(ModelFolderTest, MissingExtraAndMisshapenTensorsAreNamedWithTheirFile) {
  const OwnedTensor last = tensors_.back();
  tensors_.pop_back();
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("no tensor lm_head.weight of shape [32, 32]"));
  tensors_.push_back(last);
  tensors_.push_back({"extra", DType::kF32, {2}, FloatBytes({1, 2})});
  WriteSingle();
  EXPECT_THAT(
      ErrorMessage(),
      HasSubstr("model.safetensors: tensor \"extra\" of shape [2] is not a weight of this"));
  tensors_.pop_back();
  tensors_.back().shape = {16, 64};
  WriteSingle();
  EXPECT_THAT(
      ErrorMessage(),
      HasSubstr(
          "model.safetensors: tensor lm_head.weight: expected shape [32, 32], found [16, 64]"));
  tensors_.back().shape = {32, 32};
  tensors_.back().dtype = DType::kI32;
  WriteSingle();
  EXPECT_THAT(ErrorMessage(),
              HasSubstr("\"lm_head.weight\": expected dtype F32, BF16, F16 or F8_E4M3, found I32"));
}

TEST_F(ModelFolderTest, ValuesThatAreNotFiniteAreNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(tensors_[3].bytes.data() + 4 * 5, &nan, 4);
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("tensor " + tensors_[3].name +
                                        ": expected finite values, found NaN at element 5"));
  const float infinity = std::numeric_limits<float>::infinity();
  std::memcpy(tensors_[3].bytes.data() + 4 * 5, &infinity, 4);
  WriteSingle();
  EXPECT_THAT(ErrorMessage(), HasSubstr("found infinity at element 5"));
}

TEST_F(ModelFolderTest, PicklesAndEmptyFoldersAreRefusedByName) {
  EXPECT_EQ(ReadModelFolder(folder_, spec_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadModelFolder(folder_ + "/none", spec_).status().code(), absl::StatusCode::kNotFound);
  WriteText("pytorch_model.bin", "x");
  EXPECT_THAT(ErrorMessage(), HasSubstr("pytorch_model.bin: a Python pickle, which can run code"));
  ASSERT_TRUE(RealFileSystem().RemoveAll(JoinPath(folder_, "pytorch_model.bin")).ok());
  WriteText("consolidated.00.pth", "x");
  EXPECT_THAT(ErrorMessage(), HasSubstr("consolidated.00.pth: a Python pickle"));
  WriteSingle();  // beside safetensors a pickle is left alone
  EXPECT_TRUE(ReadModelFolder(folder_, spec_).ok());
}

TEST_F(ModelFolderTest, CheckWeightsNamesTheFirstDifference) {
  WriteSingle();
  const WeightsSnapshot good = *ReadModelFolder(folder_, spec_);
  const auto message = [this](const WeightsSnapshot& weights) {
    const absl::Status status = CheckWeights(spec_, weights, "worker/3");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  WeightsSnapshot bad = good;
  bad.tensors.pop_back();
  EXPECT_THAT(message(bad), HasSubstr("worker/3: no tensor lm_head.weight of shape [32, 32]"));
  bad = good;
  bad.tensors.push_back(bad.tensors[0]);
  EXPECT_THAT(message(bad), HasSubstr("tensor \"model.embed_tokens.weight\" occurs twice"));
  bad.tensors.back().name = "ghost";
  EXPECT_THAT(message(bad), HasSubstr("tensor \"ghost\" of shape [32, 32] is not a weight"));
  bad = good;
  bad.tensors[2].shape.push_back(1);
  EXPECT_THAT(message(bad), HasSubstr(": expected shape [32, 32], found [32, 32, 1]"));
  bad = good;
  bad.tensors[2].dtype = DType::kBF16;
  EXPECT_THAT(message(bad), HasSubstr("expected dtype F32, found BF16"));
  bad = good;
  bad.tensors[2].bytes.remove_suffix(4);
  EXPECT_THAT(message(bad), HasSubstr("expected 4096 bytes, found 4092"));
  bad = good;
  std::swap(bad.tensors[0], bad.tensors[1]);
  EXPECT_THAT(message(bad),
              HasSubstr("tensor 0: expected model.embed_tokens.weight, found model.layers.0"));
}

TEST_F(ModelFolderTest, TheDigestSeesEveryPart) {
  WriteSingle();
  const WeightsSnapshot good = *ReadModelFolder(folder_, spec_);
  WeightsSnapshot other = good;
  other.policy_version = 7;  // not part of what the weights are
  EXPECT_EQ(other.Digest(), good.Digest());
  other.tensors[0].name += "x";
  EXPECT_NE(other.Digest(), good.Digest());
  other = good;
  other.tensors[0].shape = {16, 64};
  EXPECT_NE(other.Digest(), good.Digest());
  other = good;
  std::swap(other.tensors[0], other.tensors[1]);
  EXPECT_NE(other.Digest(), good.Digest());
  std::string bytes(good.tensors[4].bytes);
  bytes[17] ^= 1;
  other = good;
  other.tensors[4].bytes = bytes;
  EXPECT_NE(other.Digest(), good.Digest());
}

}  // namespace
}  // namespace r1
