// The expert layer on the GPU against double precision, for every tile width and every way tokens
// can be spread over the experts; that no output is left unwritten, and that bits depend neither on
// timing nor on the rest of the batch. With FP8 weights: the bits are those of the bf16 weights
// that they stand for.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels/cuda/moe_experts_bf16_sm90.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/gpu/naive_cuda.h"
#include "tests/gpu/oracles.h"

namespace r1::kernels {
namespace {

constexpr MoeExpertsBf16Shape kM16 = {
    .hidden = 2048, .intermediate = 1408, .experts = 64, .active = 6};
constexpr MoeExpertsBf16Shape kM16Shared = {
    .hidden = 2048, .intermediate = 1408, .experts = 64, .active = 6, .shared_experts = 2};
constexpr MoeExpertsBf16Shape kSmall = {
    .hidden = 128, .intermediate = 64, .experts = 8, .active = 2, .shared_experts = 1};
constexpr MoeExpertsBf16Shape kSmallWide = {
    .hidden = 256, .intermediate = 128, .experts = 8, .active = 2, .shared_experts = 1};
// 8 bits of mantissa: three roundings to bf16 of relative size 2^-9 each, and a little for e^x.
constexpr double kTolerance = 4e-3;

enum class Routing { kUniform, kOneForAll, kFewExperts };

std::vector<int32_t> DrawExperts(const MoeExpertsBf16Shape& shape, int tokens, Routing routing,
                                 uint64_t seed) {
  Rng rng = TestRng(seed);
  std::vector<int32_t> experts;
  const int candidates = routing == Routing::kFewExperts ? shape.active : shape.experts;
  std::vector<int32_t> order(candidates);
  for (int t = 0; t < tokens; ++t) {
    std::iota(order.begin(), order.end(), 0);
    for (int i = 0; i < shape.active; ++i)
      std::swap(order[i], order[i + rng.NextBelow(candidates - i)]);
    if (routing == Routing::kOneForAll) {
      const int popular = shape.experts / 2;
      if (std::find(order.begin(), order.begin() + shape.active, popular) ==
          order.begin() + shape.active) {
        order[rng.NextBelow(shape.active)] = popular;
      }
    }
    experts.insert(experts.end(), order.begin(), order.begin() + shape.active);
  }
  return experts;
}

// A layer with random weights, and room for calls of up to `tokens_max` tokens. With `fp8`, weights
// are rounded to FP8 and kept in it, too.
class Layer {
 public:
  Layer(const MoeExpertsBf16Shape& shape, int tokens_max, uint64_t seed, bool fp8 = false)
      : shape_(shape),
        tokens_max_(tokens_max),
        gate_(NormalBf16(Elements(), 1.0f / 32, seed)),
        up_(NormalBf16(Elements(), 1.0f / 32, seed + 1)),
        down_(NormalBf16(Elements(), 1.0f / 32, seed + 2)),
        gate_up_packed_(All() * PackedBytes(2 * shape.intermediate, shape.hidden)),
        down_packed_(All() * PackedBytes(shape.hidden, shape.intermediate)),
        x_(NormalBf16(int64_t{tokens_max} * shape.hidden, 1, seed + 3)),
        workspace_(MoeExpertsBf16Sm90WorkspaceBytes(shape, tokens_max)) {
    if (fp8) RoundToFp8();
    R1_CHECK_CUDA(PackGateUpBf16Sm90(gate_.data(), up_.data(), All(), shape.intermediate,
                                     shape.hidden, gate_up_packed_.data(), nullptr));
    R1_CHECK_CUDA(PackRowsBf16Sm90(down_.data(), All(), shape.hidden, shape.intermediate,
                                   down_packed_.data(), nullptr));
    workspace_.Fill(0);
    Rng rng = TestRng(seed + 4);
    for (int i = 0; i < tokens_max * shape.active; ++i)
      weights_.push_back(static_cast<float>(rng.NextUniform()));
  }

  // Tokens first, first + 1, … of the layer's inputs, with these experts.
  std::vector<__nv_bfloat16> Run(const std::vector<int32_t>& experts, int first, int tokens) {
    return Run(experts, first, tokens, fp8_);
  }
  // The same with the weights in bf16.
  std::vector<__nv_bfloat16> RunBf16(const std::vector<int32_t>& experts, int first, int tokens) {
    return Run(experts, first, tokens, false);
  }

  std::vector<__nv_bfloat16> Run(const std::vector<int32_t>& experts, int first, int tokens,
                                 bool fp8) {
    const DeviceBuffer<int32_t> device_experts(experts);
    const DeviceBuffer<float> device_weights(Weights(first, tokens));
    DeviceBuffer<__nv_bfloat16> out(int64_t{tokens} * shape_.hidden);
    out.Fill(0xFF);
    MoeExpertsBf16Args args = Args(first, tokens, device_experts, device_weights);
    args.out = out.data();
    if (fp8) {
      args.gate_up = gate_up_fp8_.data();
      args.down = down_fp8_.data();
      args.fp8_weights = true;
    }
    R1_CHECK_CUDA(MoeExpertsBf16Sm90(args, nullptr));
    return out.ToHost();
  }

  std::vector<double> Naive(const std::vector<int32_t>& experts, int tokens) {
    const DeviceBuffer<int32_t> device_experts(experts);
    const DeviceBuffer<float> device_weights(Weights(0, tokens));
    const DeviceBuffer<double> out(int64_t{tokens} * shape_.hidden);
    NaiveMoeExperts(Args(0, tokens, device_experts, device_weights),
                    {.gate = gate_.data(), .up = up_.data(), .down = down_.data()}, out.data());
    return out.ToHost();
  }

  std::vector<double> Oracle(const std::vector<int32_t>& experts, int tokens) {
    const ExpertsOracleArgs args = {.tokens = tokens,
                                    .hidden = shape_.hidden,
                                    .intermediate = shape_.intermediate,
                                    .experts = shape_.experts,
                                    .active = shape_.active,
                                    .shared_experts = shape_.shared_experts};
    return ExpertsOracle(args, ToFloats(x_), ToFloats(gate_), ToFloats(up_), ToFloats(down_),
                         experts, Weights(0, tokens));
  }

  int tokens_max() const { return tokens_max_; }

 private:
  void RoundToFp8() {
    const int width = shape_.intermediate;
    const int hidden = shape_.hidden;
    gate_up_fp8_ = DeviceBuffer<uint8_t>(All() * Fp8PackedBytes(2 * width, hidden));
    down_fp8_ = DeviceBuffer<uint8_t>(All() * Fp8PackedBytes(hidden, width));
    gate_up_fp8_.Fill(0);
    down_fp8_.Fill(0);
    RoundToFp8(gate_, width, hidden, PackedRows::kGate, gate_up_fp8_);
    RoundToFp8(up_, width, hidden, PackedRows::kUp, gate_up_fp8_);
    RoundToFp8(down_, hidden, width, PackedRows::kAll, down_fp8_);
    fp8_ = true;
  }
  void RoundToFp8(DeviceBuffer<__nv_bfloat16>& weights, int rows, int columns, PackedRows kind,
                  DeviceBuffer<uint8_t>& packed) {
    R1_CHECK_CUDA(PackFp8Sm90(
        {.data = weights.data(), .matrix_stride = int64_t{rows} * columns, .row_stride = columns},
        All(), rows, columns, kind, packed.data(), nullptr));
    NaiveUnpackFp8(packed.data(), All(), rows, columns, kind, weights.data());
  }
  int All() const { return shape_.experts + shape_.shared_experts; }
  int64_t Elements() const { return int64_t{All()} * shape_.intermediate * shape_.hidden; }
  std::vector<float> Weights(int first, int tokens) const {
    return {weights_.begin() + first * shape_.active,
            weights_.begin() + (first + tokens) * shape_.active};
  }
  MoeExpertsBf16Args Args(int first, int tokens, const DeviceBuffer<int32_t>& experts,
                          const DeviceBuffer<float>& weights) const {
    return {.shape = shape_,
            .tokens = tokens,
            .x = x_.data() + int64_t{first} * shape_.hidden,
            .x_stride = shape_.hidden,
            .experts = experts.data(),
            .weights = weights.data(),
            .gate_up = gate_up_packed_.data(),
            .down = down_packed_.data(),
            .out = nullptr,
            .out_stride = shape_.hidden,
            .workspace = workspace_.data(),
            .workspace_tokens = tokens_max_};
  }

  const MoeExpertsBf16Shape shape_;
  const int tokens_max_;
  DeviceBuffer<__nv_bfloat16> gate_, up_, down_;
  DeviceBuffer<uint8_t> gate_up_packed_, down_packed_;
  DeviceBuffer<__nv_bfloat16> x_;
  DeviceBuffer<uint8_t> workspace_;
  std::vector<float> weights_;
  bool fp8_ = false;
  DeviceBuffer<uint8_t> gate_up_fp8_, down_fp8_;
};

class MoeExpertsGpuTest : public GpuTest {};

// Runs several batch sizes through one workspace, in the given order.
void ExpectCloseToNaive(const MoeExpertsBf16Shape& shape, const std::vector<int>& token_counts,
                        Routing routing) {
  Layer layer(shape, *std::max_element(token_counts.begin(), token_counts.end()), 11);
  for (const int tokens : token_counts) {
    const std::vector<int32_t> experts = DrawExperts(shape, tokens, routing, tokens);
    const std::vector<__nv_bfloat16> out = layer.Run(experts, 0, tokens);
    const double error = RelativeError(ToFloats(out), layer.Naive(experts, tokens));
    EXPECT_LT(error, kTolerance) << "tokens " << tokens << " routing " << static_cast<int>(routing);
    EXPECT_GT(error, 0) << "bf16 results cannot be exact";
    EXPECT_TRUE(SameBits(out, layer.Run(experts, 0, tokens)))
        << "a second run differs, tokens " << tokens;
    if (tokens == token_counts.back()) {
      std::printf("moe_experts D %d I %d E %d A %d S %d, T %d: relative error %.2e\n", shape.hidden,
                  shape.intermediate, shape.experts, shape.active, shape.shared_experts, tokens,
                  error);
    }
  }
}

TEST_F(MoeExpertsGpuTest, SmallLayerMatchesTheOracle) {
  for (const Routing routing : {Routing::kUniform, Routing::kOneForAll, Routing::kFewExperts}) {
    Layer layer(kSmall, 37, 5);
    for (const int tokens : {1, 2, 9, 37}) {
      const std::vector<int32_t> experts = DrawExperts(kSmall, tokens, routing, tokens);
      const std::vector<double> oracle = layer.Oracle(experts, tokens);
      EXPECT_LT(RelativeError(ToFloats(layer.Run(experts, 0, tokens)), oracle), kTolerance)
          << "tokens " << tokens;
      const std::vector<double> naive = layer.Naive(experts, tokens);
      const std::vector<float> naive_floats(naive.begin(), naive.end());
      EXPECT_LT(RelativeError(naive_floats, oracle), 1e-6) << "tokens " << tokens;
    }
  }
}

// Every width of tile, tiles that are just full and just too small, and several tiles an expert.
TEST_F(MoeExpertsGpuTest, SmallLayerMatchesForRaggedTokenCounts) {
  for (const Routing routing : {Routing::kUniform, Routing::kOneForAll, Routing::kFewExperts}) {
    ExpectCloseToNaive(kSmall, {1, 7, 8, 9, 16, 17, 33, 64, 65, 127, 128, 129, 255, 257, 513},
                       routing);
  }
}

// From 256 tokens on in tiles of two blocks, of every width.
TEST_F(MoeExpertsGpuTest, SmallLayerInWideTilesMatches) {
  ExpectCloseToNaive(kSmallWide, {257, 30, 519}, Routing::kUniform);
  ExpectCloseToNaive(kSmallWide, {301}, Routing::kOneForAll);
  ExpectCloseToNaive(kSmallWide, {301}, Routing::kFewExperts);
}

TEST_F(MoeExpertsGpuTest, WideTilesMatchForRaggedTokenCounts) {
  for (const Routing routing : {Routing::kUniform, Routing::kOneForAll, Routing::kFewExperts}) {
    ExpectCloseToNaive(kSmallWide, {255, 256, 257, 300, 512, 513, 519, 30, 707, 1031}, routing);
  }
}

TEST_F(MoeExpertsGpuTest, HighAndWideTilesMatchForRaggedTokenCounts) {
  const MoeExpertsBf16Shape shape = {
      .hidden = 256, .intermediate = 128, .experts = 16, .active = 4, .shared_experts = 1};
  for (const Routing routing : {Routing::kUniform, Routing::kOneForAll, Routing::kFewExperts}) {
    ExpectCloseToNaive(shape, {191, 192, 500, 767, 768, 1500, 2049, 100, 4096}, routing);
  }
}

TEST_F(MoeExpertsGpuTest, OtherShapesMatch) {
  // An odd number of row blocks, which cannot use wide tiles.
  ExpectCloseToNaive(
      {.hidden = 384, .intermediate = 192, .experts = 10, .active = 3, .shared_experts = 2},
      {1, 40, 1100}, Routing::kUniform);
  // As many slots as one round of the final sum takes, and more.
  ExpectCloseToNaive(
      {.hidden = 256, .intermediate = 64, .experts = 32, .active = 8, .shared_experts = 0}, {3, 50},
      Routing::kUniform);
  ExpectCloseToNaive(
      {.hidden = 256, .intermediate = 64, .experts = 256, .active = 12, .shared_experts = 1},
      {3, 50, 300}, Routing::kUniform);
  // Qwen3-30B-A3B.
  ExpectCloseToNaive(
      {.hidden = 2048, .intermediate = 768, .experts = 128, .active = 8, .shared_experts = 0},
      {1, 48, 200}, Routing::kUniform);
}

TEST_F(MoeExpertsGpuTest, M16Matches) {
  for (const Routing routing : {Routing::kUniform, Routing::kOneForAll, Routing::kFewExperts}) {
    ExpectCloseToNaive(kM16, {1, 2, 5, 8, 9, 16, 64, 130, 256, 512}, routing);
  }
  ExpectCloseToNaive(kM16Shared, {1, 16, 256}, Routing::kUniform);
}

TEST_F(MoeExpertsGpuTest, M16MatchesForLargeBatches) {
  ExpectCloseToNaive(kM16, {1024, 1537, 4096, 8191}, Routing::kUniform);
  ExpectCloseToNaive(kM16, {1541}, Routing::kFewExperts);
  ExpectCloseToNaive(kM16Shared, {2000}, Routing::kOneForAll);
}

// The same token alone, among a few and among many, in narrow and in wide tiles, at another place
// of the batch.
void ExpectBatchInvariant(const MoeExpertsBf16Shape& shape, const std::vector<int>& batches) {
  Layer layer(shape, *std::max_element(batches.begin(), batches.end()), 23);
  const std::vector<int32_t> experts = DrawExperts(shape, layer.tokens_max(), Routing::kUniform, 3);
  auto slice = [&](int first, int tokens) {
    return std::vector<int32_t>(experts.begin() + first * shape.active,
                                experts.begin() + (first + tokens) * shape.active);
  };
  for (const int batch : batches) {
    const int first = layer.tokens_max() - batch;
    const std::vector<__nv_bfloat16> together = layer.Run(slice(first, batch), first, batch);
    for (int token = 0; token < batch; token += batch / 7 + 1) {
      const std::vector<__nv_bfloat16> alone = layer.Run(slice(first + token, 1), first + token, 1);
      const auto begin = together.begin() + int64_t{token} * shape.hidden;
      EXPECT_TRUE(SameBits(alone, std::vector<__nv_bfloat16>(begin, begin + shape.hidden)))
          << "token " << token << " of " << batch;
    }
  }
}

TEST_F(MoeExpertsGpuTest, SmallTokenHasTheSameBitsInEveryBatch) {
  ExpectBatchInvariant(kSmall, {5, 33, 200});
}

TEST_F(MoeExpertsGpuTest, WideTokenHasTheSameBitsInEveryBatch) {
  std::vector<int> batches;
  for (int batch = 230; batch < 1200; batch += 31) batches.push_back(batch);
  ExpectBatchInvariant(kSmallWide, batches);
}

TEST_F(MoeExpertsGpuTest, M16TokenHasTheSameBitsInEveryBatch) {
  ExpectBatchInvariant(kM16Shared, {3, 16, 64, 512, 777, 1536, 2048, 4096, 8192});
}

void ExpectFp8AsItsBf16(const MoeExpertsBf16Shape& shape, const std::vector<int>& token_counts) {
  Layer layer(shape, *std::max_element(token_counts.begin(), token_counts.end()), 31, true);
  for (const Routing routing : {Routing::kUniform, Routing::kOneForAll, Routing::kFewExperts}) {
    for (const int tokens : token_counts) {
      const std::vector<int32_t> experts = DrawExperts(shape, tokens, routing, tokens);
      EXPECT_TRUE(SameBits(layer.Run(experts, 0, tokens), layer.RunBf16(experts, 0, tokens)))
          << "tokens " << tokens << " routing " << static_cast<int>(routing);
    }
  }
}

TEST_F(MoeExpertsGpuTest, SmallFp8WeightsAreTheirBf16) {
  ExpectFp8AsItsBf16(kSmall, {1, 7, 8, 9, 16, 17, 33, 64, 65, 127, 128, 129, 255, 257, 513});
}

TEST_F(MoeExpertsGpuTest, SmallFp8LayerMatchesTheOracle) {
  Layer layer(kSmall, 37, 5, true);
  for (const int tokens : {1, 9, 37}) {
    const std::vector<int32_t> experts = DrawExperts(kSmall, tokens, Routing::kUniform, tokens);
    EXPECT_LT(RelativeError(ToFloats(layer.Run(experts, 0, tokens)), layer.Oracle(experts, tokens)),
              kTolerance)
        << "tokens " << tokens;
  }
}

TEST_F(MoeExpertsGpuTest, Fp8WeightsOfOtherShapesAreTheirBf16) {
  ExpectFp8AsItsBf16(
      {.hidden = 384, .intermediate = 192, .experts = 10, .active = 3, .shared_experts = 2},
      {1, 40, 1100});
  ExpectFp8AsItsBf16({.hidden = 2048, .intermediate = 768, .experts = 128, .active = 8}, {1, 48});
  ExpectFp8AsItsBf16(kM16Shared, {1, 2, 8, 16, 64, 256, 512, 2048});
}

// E4M3 as its definition says it: a sign, four bits of exponent with bias 7, three of mantissa.
double Fp8Value(uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const double magnitude =
      exponent == 0 ? std::ldexp(bits & 7, -9) : std::ldexp(8 + (bits & 7), exponent - 10);
  return bits < 128 ? magnitude : -magnitude;
}

// The nearest of all E4M3 numbers up to 448; of two, the even one.
double NearestFp8(double value) {
  double best = 0;
  uint8_t best_bits = 0;
  for (uint8_t bits = 0; bits <= 0x7E; ++bits) {
    const double distance = std::abs(Fp8Value(bits) - std::abs(value));
    const double least = std::abs(best - std::abs(value));
    if (distance < least || (distance == least && bits % 2 == 0 && best_bits % 2 == 1)) {
      best = Fp8Value(bits);
      best_bits = bits;
    }
  }
  return std::copysign(best, value);
}

// The last columns and rows are half a block; one block is all zeros, another large.
TEST_F(MoeExpertsGpuTest, SmallFp8WeightsAreTheNearestToTheirBlocksScale) {
  constexpr int kRows = 320;
  constexpr int kColumns = 192;
  std::vector<__nv_bfloat16> weights = NormalBf16(int64_t{kRows} * kColumns, 0.02f, 3).ToHost();
  for (int row = 0; row < 128; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      __nv_bfloat16& weight = weights[row * kColumns + column];
      weight = __float2bfloat16(column < 128 ? 0.0f : ToFloat(weight) * 1e4f);
    }
  }
  const DeviceBuffer<__nv_bfloat16> device_weights(weights);
  DeviceBuffer<uint8_t> packed(Fp8PackedBytes(kRows, kColumns));
  packed.Fill(0);
  R1_CHECK_CUDA(PackFp8Sm90({.data = device_weights.data(), .row_stride = kColumns}, 1, kRows,
                            kColumns, PackedRows::kAll, packed.data(), nullptr));
  const DeviceBuffer<__nv_bfloat16> unpacked(device_weights.size());
  NaiveUnpackFp8(packed.data(), 1, kRows, kColumns, PackedRows::kAll, unpacked.data());
  const std::vector<float> found = ToFloats(unpacked);
  for (int i = 0; i < kRows * kColumns; ++i) {
    const int first_row = i / kColumns / 128 * 128;
    const int first_column = i % kColumns / 128 * 128;
    if (i % 7 != 0) continue;  // a sample of them
    float max = 0;
    for (int row = first_row; row < std::min(first_row + 128, kRows); ++row) {
      for (int column = first_column; column < std::min(first_column + 128, kColumns); ++column)
        max = std::max(max, std::abs(ToFloat(weights[row * kColumns + column])));
    }
    float scale = ToFloat(__float2bfloat16_ru(max / 448));
    if (max == 0) scale = 1;
    const float value = ToFloat(weights[i]);
    const double expected = NearestFp8(value / scale) * scale;
    EXPECT_EQ(found[i], ToFloat(__float2bfloat16(static_cast<float>(expected)))) << "weight " << i;
  }
}

TEST_F(MoeExpertsGpuTest, M16Fp8TokenHasTheSameBitsInEveryBatch) {
  Layer layer(kM16Shared, 512, 23, true);
  const std::vector<int32_t> experts = DrawExperts(kM16Shared, 512, Routing::kUniform, 3);
  const std::vector<__nv_bfloat16> together = layer.Run(experts, 0, 512);
  for (const int token : {0, 100, 511}) {
    const auto ids = experts.begin() + token * kM16Shared.active;
    const std::vector<__nv_bfloat16> alone = layer.Run({ids, ids + kM16Shared.active}, token, 1);
    const auto begin = together.begin() + int64_t{token} * kM16Shared.hidden;
    EXPECT_TRUE(SameBits(alone, std::vector<__nv_bfloat16>(begin, begin + kM16Shared.hidden)))
        << "token " << token;
  }
}

TEST_F(MoeExpertsGpuTest, UnsupportedShapesAreNamed) {
  EXPECT_EQ(MoeExpertsBf16Sm90Unsupported(kM16), nullptr);
  MoeExpertsBf16Shape shape = kM16;
  shape.hidden = 2000;
  EXPECT_STREQ(MoeExpertsBf16Sm90Unsupported(shape), "hidden must be a multiple of 128");
  MoeExpertsBf16Args args;
  args.shape = shape;
  args.tokens = 1;
  EXPECT_EQ(MoeExpertsBf16Sm90(args, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace r1::kernels
