// Products in pairs of bf16, and of such in tiles: against float64, against the plain reference by
// bits, and against themselves in other batches. Emulated everywhere, and by the instructions where
// they exist; those of AMX elsewhere as trapped_tiles.h says.

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/thread_pool.h"
#include "tests/kernels/emulated_tiles.h"
#include "tests/kernels/kernel_testing.h"
#include "tests/kernels/pairs_under_test.h"
#include "tests/kernels/trapped_tiles.h"

namespace r1::kernels {
namespace {

// One of the two orders in which products are added up, and what computes it.
struct Order {
  const char* name;
  void (*reference)(const MatmulArgs& args);
  const PairKernels* emulated_avx2;
  const PairKernels* emulated_avx512;
  IsaName instructions;

  friend void PrintTo(const Order& order, std::ostream* out) { *out << order.name; }
};
constexpr Order kPairs = {"Pairs", MatmulBf16Reference, &kPairsUnderTestAvx2,
                          &kPairsUnderTestAvx512, IsaName::kAvx512Bf16};
constexpr Order kTiles = {"Tiles", MatmulBf16TilesReference, &kTilesUnderTestAvx2,
                          &kTilesUnderTestAvx512, IsaName::kAmxBf16};

bool CanRun(IsaName isa) {
  const std::vector<IsaName> isas = DetectIsas(WeightType::kBf16);
  return std::find(isas.begin(), isas.end(), isa) != isas.end();
}

std::vector<PairKernels> KernelsOf(const Order& order) {
  std::vector<PairKernels> all;
  if (CanRun(IsaName::kAvx512)) all.push_back(*order.emulated_avx512);
  if (CanRun(IsaName::kAvx2)) all.push_back(*order.emulated_avx2);
  if (CanRun(IsaName::kAvx512Bf16)) {  // enough for kAmxBf16, whose other instructions may trap
    const KernelTable& table = KernelsFor(order.instructions);
    all.push_back({.name = "instructions",
                   .matmul = table.matmul,
                   .swiglu = table.swiglu,
                   .moe_experts = table.moe_experts,
                   .sample_head = table.sample_head,
                   .scan_vocab = table.scan_vocab,
                   .draw_tokens = table.draw_tokens});
  }
  return all;
}

AlignedBuffer<Bf16> Rounded(const std::vector<float>& panels) {
  AlignedBuffer<Bf16> rounded(static_cast<int64_t>(panels.size()));
  RoundPanels(panels.data(), rounded.size(), rounded.data());
  return rounded;
}

// [n, k] in bf16 panels.
struct Bf16Matrix {
  Bf16Matrix(const std::vector<float>& w, int n, int k) : n(n), k(k) {
    std::vector<float> panels(PackedFloats(n, k));
    PackMatrix(w.data(), k, n, k, panels.data());
    weights = Rounded(panels);
  }
  PackedMatrix view() const { return {weights.data(), n, k}; }

  int n;
  int k;
  AlignedBuffer<Bf16> weights;
};

std::vector<float> Multiply(void (*matmul)(const MatmulArgs& args), const std::vector<float>& x,
                            int m, const Bf16Matrix& w) {
  std::vector<float> y(int64_t{m} * w.n);
  matmul({.x = x.data(), .x_stride = w.k, .w = w.view(), .y = y.data(), .y_stride = w.n, .m = m});
  return y;
}

class PairsTest : public testing::TestWithParam<Order> {
 protected:
  PairsTest() {
    if (!CanRun(IsaName::kAmxBf16)) trapped_tiles_.emplace();
  }
  // A thread holds tile registers only inside a kernel.
  void TearDown() override { EXPECT_FALSE(EmulatedTiles::IsConfigured()); }

  std::vector<PairKernels> AllPairKernels() const { return KernelsOf(GetParam()); }
  std::vector<float> Expected(const std::vector<float>& x, int m, const Bf16Matrix& w) const {
    return Multiply(GetParam().reference, x, m, w);
  }

 private:
  std::optional<TrappedTiles> trapped_tiles_;
};
INSTANTIATE_TEST_SUITE_P(Orders, PairsTest, testing::Values(kPairs, kTiles),
                         [](const auto& info) { return std::string(info.param.name); });

struct Shape {
  int m, n, k;
};
constexpr Shape kShapes[] = {{1, 1, 2},    {1, 16, 6},     {5, 17, 34},    {8, 48, 96},
                             {9, 96, 48},  {13, 31, 16},   {64, 176, 96},  {70, 40, 192},
                             {3, 100, 10}, {2, 20, 30000}, {1, 1, 32},     {16, 16, 32},
                             {17, 33, 64}, {32, 50, 96},   {33, 15, 2048}, {20, 20, 30016}};

// Either operand is off by at most 2^-9 of itself, a product by 2^-8; the sum's own rounding, k *
// 2^-24 of the largest partial sum, is small beside it.
TEST_P(PairsTest, ProductsAgreeWithFloat64) {
  for (const Shape shape : kShapes) {
    Rng rng = TestRng(31);
    const std::vector<float> x = RandomFloats(rng, int64_t{shape.m} * shape.k);
    const std::vector<float> w = RandomFloats(rng, int64_t{shape.n} * shape.k);
    const Bf16Matrix matrix(w, shape.n, shape.k);
    for (const PairKernels& kernels : AllPairKernels()) {
      const std::vector<float> y = Multiply(kernels.matmul, x, shape.m, matrix);
      for (int m = 0; m < shape.m; ++m) {
        for (int n = 0; n < shape.n; ++n) {
          const float* row = &x[int64_t{m} * shape.k];
          const float* column = &w[int64_t{n} * shape.k];
          double magnitude = 0;
          for (int k = 0; k < shape.k; ++k) {
            magnitude += std::abs(static_cast<double>(row[k]) * column[k]);
          }
          ASSERT_NEAR(y[int64_t{m} * shape.n + n], Dot(row, column, shape.k), magnitude * 0x1.02p-8)
              << kernels.name << " m " << m << " n " << n << " k " << shape.k;
        }
      }
    }
  }
}

TEST_P(PairsTest, ProductsHaveTheReferencesBits) {
  for (const Shape shape : kShapes) {
    Rng rng = TestRng(32);
    const std::vector<float> x = RandomFloats(rng, int64_t{shape.m} * shape.k);
    const std::vector<float> w = RandomFloats(rng, int64_t{shape.n} * shape.k);
    const Bf16Matrix matrix(w, shape.n, shape.k);
    const std::vector<float> expected = Expected(x, shape.m, matrix);
    for (const PairKernels& kernels : AllPairKernels()) {
      EXPECT_TRUE(SameBits(Multiply(kernels.matmul, x, shape.m, matrix), expected))
          << kernels.name << " m " << shape.m << " n " << shape.n << " k " << shape.k;
    }
  }
}

// Random bits: denormals, infinities and what is none of the numbers among them. Results that are
// not a number are compared as such.
TEST_P(PairsTest, AnyBitsGiveTheReferencesResult) {
  constexpr int kRows = 40, kColumns = 48;
  Rng rng = TestRng(33);
  int tiny = 0, special = 0;
  for (int round = 0; round < 200; ++round) {
    const auto random_bits = [&](uint32_t first_exponent, uint32_t exponents) {
      const uint32_t bits = static_cast<uint32_t>(rng.NextBelow(uint64_t{1} << 32));
      const uint32_t exponent = first_exponent + static_cast<uint32_t>(rng.NextBelow(exponents));
      return std::bit_cast<float>((bits & 0x807FFFFF) | exponent << 23);
    };
    // Any exponents, or such that the products lie around 2^-126.
    const bool is_any = round % 2 == 0;
    const int k = round % 4 < 2 ? 6 : 2 * kTileDepth;
    const uint32_t low = 1 + static_cast<uint32_t>(rng.NextBelow(118));
    std::vector<float> x(kRows * k), w(kColumns * k);
    for (float& value : x) value = is_any ? random_bits(0, 256) : random_bits(low, 20);
    for (float& value : w) value = is_any ? random_bits(0, 256) : random_bits(119 - low, 12);
    const Bf16Matrix matrix(w, kColumns, k);
    const std::vector<float> expected = Expected(x, kRows, matrix);
    for (const PairKernels& kernels : AllPairKernels()) {
      const std::vector<float> y = Multiply(kernels.matmul, x, kRows, matrix);
      for (size_t i = 0; i < y.size(); ++i) {
        if (std::isnan(expected[i])) {
          ASSERT_TRUE(std::isnan(y[i])) << kernels.name;
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(expected[i]))
              << kernels.name << ": " << y[i] << " and " << expected[i];
        }
      }
    }
    for (const float value : expected) {
      tiny += std::abs(value) < 0x1p-120f;
      special += !std::isfinite(value);
    }
  }
  EXPECT_GT(tiny, 1000);
  EXPECT_GT(special, 1000);
}

// Rows of 10,016 numbers are rounded a few at a time, those of 50 or 64 all at once.
TEST_P(PairsTest, ARowHasTheSameBitsAtAnyPlaceOfAnyBatch) {
  for (const int k : {50, 64, 10016}) {
    const int rows = k < 10016 ? 600 : 31;
    Rng rng = TestRng(34);
    const Bf16Matrix w(RandomFloats(rng, int64_t{80} * k), 80, k);
    const std::vector<float> x = RandomFloats(rng, int64_t{rows} * k);
    for (const PairKernels& kernels : AllPairKernels()) {
      const std::vector<float> whole = Multiply(kernels.matmul, x, rows, w);
      for (int m = 1; m <= rows; m += k == 10016 ? 6 : m < 20 ? 1 : 37) {
        const int first = static_cast<int>(rng.NextBelow(rows - m + 1));
        const std::vector<float> part(x.begin() + int64_t{first} * k,
                                      x.begin() + int64_t{first + m} * k);
        const std::vector<float> y = Multiply(kernels.matmul, part, m, w);
        ASSERT_EQ(0, std::memcmp(y.data(), &whole[int64_t{first} * 80], y.size() * sizeof(float)))
            << kernels.name << " m " << m << " first " << first << " k " << k;
      }
    }
  }
}

TEST_P(PairsTest, GathersStridesBiasAndSumAreThoseOfTheReference) {
  constexpr int kRows = 37;
  Rng rng = TestRng(35);
  std::vector<int32_t> rows(kRows);
  for (int32_t& row : rows) row = static_cast<int32_t>(rng.NextBelow(30));
  for (const int k : {22, 64}) {
    const std::vector<float> x = RandomFloats(rng, 30 * (k + 3));
    for (const int n : {1, 16, 19, 100}) {
      const Bf16Matrix w(RandomFloats(rng, n * k), n, k);
      const std::vector<float> bias = RandomFloats(rng, n);
      const std::vector<float> before = RandomFloats(rng, kRows * (n + 2));
      const auto multiply = [&](void (*matmul)(const MatmulArgs& args), bool accumulate) {
        std::vector<float> y = before;
        matmul({.x = x.data(),
                .x_stride = k + 3,
                .rows = rows.data(),
                .w = w.view(),
                .bias = bias.data(),
                .y = y.data(),
                .y_stride = n + 2,
                .m = kRows,
                .accumulate = accumulate});
        return y;
      };
      for (const bool accumulate : {false, true}) {
        const std::vector<float> expected = multiply(GetParam().reference, accumulate);
        for (const PairKernels& kernels : AllPairKernels()) {
          EXPECT_TRUE(SameBits(multiply(kernels.matmul, accumulate), expected))
              << kernels.name << " n " << n << " k " << k;
        }
      }
    }
  }
}

// Operands of the experts of a small layer.
struct Experts {
  static constexpr int kTokens = 90, kExperts = 3;

  Experts(Rng& rng, int hidden, int width)
      : hidden(hidden), width(width), x(RandomFloats(rng, kTokens * hidden)) {
    std::vector<int32_t> experts(kTokens);
    for (int32_t& expert : experts) expert = static_cast<int32_t>(rng.NextBelow(kExperts));
    BuildExpertLists(experts.data(), kTokens, 1, kExperts, &lists);
    for (int e = 0; e < kExperts; ++e) {
      gates.push_back(RandomFloats(rng, width * hidden, 0.3));
      ups.push_back(RandomFloats(rng, width * hidden, 0.3));
      std::vector<float> panels(PackedGateUpFloats(width, hidden));
      PackGateUp(gates[e].data(), ups[e].data(), width, hidden, panels.data());
      gate_up_panels.push_back(Rounded(panels));
      gate_up.push_back({gate_up_panels[e].data(), width, hidden});
      down_matrices.emplace_back(RandomFloats(rng, hidden * width), hidden, width);
      down.push_back(down_matrices[e].view());
    }
  }

  // The places [begin, end) of the list.
  std::vector<float> Compute(const PairKernels& kernels, int begin, int end) const {
    std::vector<float> scratch(kMoeRowBlock * width);
    std::vector<float> results(kTokens * hidden);
    kernels.moe_experts({.x = x.data(),
                         .x_stride = hidden,
                         .offsets = lists.offsets.data(),
                         .tokens = lists.tokens.data(),
                         .expert_count = kExperts,
                         .place_begin = begin,
                         .place_end = end,
                         .gate_up = gate_up.data(),
                         .down = down.data(),
                         .hidden = scratch.data(),
                         .results = results.data()});
    return results;
  }

  int hidden;
  int width;
  std::vector<float> x;
  ExpertLists lists;
  std::vector<std::vector<float>> gates, ups;
  std::vector<AlignedBuffer<Bf16>> gate_up_panels;
  std::vector<PackedGateUp> gate_up;
  std::vector<Bf16Matrix> down_matrices;
  std::vector<PackedMatrix> down;
};

// Inputs of no product, of the first one and of both fill tiles.
constexpr int kExpertSizes[][2] = {{40, 26}, {64, 40}, {96, 64}};

// Gate and up by the reference's products, which are exact to the bit; what is added is the fp32
// error of silu.
TEST_P(PairsTest, SwigluIsThatOfTheReferencesProducts) {
  Rng rng = TestRng(36);
  constexpr int kRows = Experts::kTokens;
  for (const auto& [hidden, width] : kExpertSizes) {
    const Experts layer(rng, hidden, width);
    const std::vector<float> gate_bias = RandomFloats(rng, width);
    const std::vector<float> up_bias = RandomFloats(rng, width);
    const std::vector<float> gates =
        Expected(layer.x, kRows, Bf16Matrix(layer.gates[0], width, hidden));
    const std::vector<float> ups =
        Expected(layer.x, kRows, Bf16Matrix(layer.ups[0], width, hidden));
    for (const PairKernels& kernels : AllPairKernels()) {
      std::vector<float> y(kRows * width);
      kernels.swiglu({.x = layer.x.data(),
                      .x_stride = hidden,
                      .w = layer.gate_up[0],
                      .gate_bias = gate_bias.data(),
                      .up_bias = up_bias.data(),
                      .y = y.data(),
                      .y_stride = width,
                      .m = kRows});
      for (int i = 0; i < kRows * width; ++i) {
        const double gate = gates[i] + gate_bias[i % width];
        const double up = ups[i] + up_bias[i % width];
        ASSERT_NEAR(y[i], NaiveSilu(gate) * up, 1e-6 * (1 + std::abs(gate)) * (1 + std::abs(up)))
            << kernels.name << " width " << width;
      }
    }
  }
}

TEST_P(PairsTest, ExpertsHaveTheSameBitsInAnyShareAndEmulated) {
  Rng rng = TestRng(37);
  for (const auto& [hidden, width] : kExpertSizes) {
    const Experts layer(rng, hidden, width);
    std::vector<float> first;
    for (const PairKernels& kernels : AllPairKernels()) {
      const std::vector<float> whole = layer.Compute(kernels, 0, Experts::kTokens);
      if (first.empty()) first = whole;
      EXPECT_TRUE(SameBits(whole, first)) << kernels.name;
      for (int cut = 1; cut < Experts::kTokens; cut += 8) {
        std::vector<float> parts = layer.Compute(kernels, 0, cut);
        const std::vector<float> rest = layer.Compute(kernels, cut, Experts::kTokens);
        std::copy(rest.begin() + cut * hidden, rest.end(), parts.begin() + cut * hidden);
        ASSERT_TRUE(SameBits(parts, whole)) << kernels.name << " width " << width << " cut " << cut;
      }
    }
  }
}

// Each thread configures tile registers of its own.
TEST_P(PairsTest, ThreadsOfAPoolShareExperts) {
  Rng rng = TestRng(41);
  const Experts layer(rng, 96, 64);
  ThreadPool pool(3);
  for (const PairKernels& kernels : AllPairKernels()) {
    std::vector<float> parts(Experts::kTokens * layer.hidden);
    pool.ParallelFor(Experts::kTokens, 1, [&](int, int begin, int end) {
      const std::vector<float> part = layer.Compute(kernels, begin, end);
      std::copy(part.begin() + begin * layer.hidden, part.begin() + end * layer.hidden,
                parts.begin() + begin * layer.hidden);
      EXPECT_FALSE(EmulatedTiles::IsConfigured());
    });
    EXPECT_TRUE(SameBits(parts, layer.Compute(kernels, 0, Experts::kTokens))) << kernels.name;
  }
}

TEST_P(PairsTest, TokensAndLogprobsAreTheSameInOneStepInTwoAndEmulated) {
  constexpr int kRows = 41, kVocab = 2 * kVocabChunk + 77;
  Rng rng = TestRng(38);
  for (const int hidden : {24, 64}) {
    const std::vector<float> x = RandomFloats(rng, kRows * hidden);
    const Bf16Matrix head(RandomFloats(rng, kVocab * hidden, 0.3), kVocab, hidden);
    std::vector<float> temperatures(kRows, 0.7f);
    temperatures[3] = 0;
    std::vector<double> uniforms(kRows);
    for (double& uniform : uniforms) uniform = rng.NextUniform();
    const std::vector<float> logits = Expected(x, kRows, head);
    std::vector<float> first;
    for (const PairKernels& kernels : AllPairKernels()) {
      std::vector<VocabChunk> chunks(kRows * VocabChunks(kVocab));
      std::vector<int32_t> tokens(kRows);
      std::vector<float> logprobs(kRows);
      const SampleHeadArgs args = {.x = x.data(),
                                   .x_stride = hidden,
                                   .head = head.view(),
                                   .m = kRows,
                                   .temperatures = temperatures.data(),
                                   .uniforms = uniforms.data(),
                                   .tokens = tokens.data(),
                                   .logprobs = logprobs.data(),
                                   .chunks = chunks.data()};
      kernels.sample_head(args);
      for (int m = 0; m < kRows; ++m) {
        const double inverse = temperatures[m] == 0 ? 1 : 1 / temperatures[m];
        double total = 0;
        for (int v = 0; v < kVocab; ++v) total += std::exp(inverse * logits[m * kVocab + v]);
        EXPECT_NEAR(logprobs[m], inverse * logits[m * kVocab + tokens[m]] - std::log(total), 1e-5)
            << kernels.name;
      }
      std::vector<float> both = logprobs;
      both.insert(both.end(), tokens.begin(), tokens.end());
      if (first.empty()) first = both;
      EXPECT_TRUE(SameBits(both, first)) << kernels.name;

      kernels.scan_vocab(args, 1, VocabChunks(kVocab));
      kernels.scan_vocab(args, 0, 1);
      kernels.draw_tokens(args);
      both = logprobs;
      both.insert(both.end(), tokens.begin(), tokens.end());
      EXPECT_TRUE(SameBits(both, first)) << kernels.name;
    }
  }
}

// The only part of these tests that a machine without AMX leaves out.
TEST(TilesTest, InstructionsGiveTheEmulationsBits) {
  const absl::StatusOr<IsaName> isa = ParseIsa("amx_bf16", WeightType::kBf16);
  if (!isa.ok()) GTEST_SKIP() << isa.status();
  for (const Shape shape : kShapes) {
    Rng rng = TestRng(40);
    const std::vector<float> x = RandomFloats(rng, int64_t{shape.m} * shape.k);
    const Bf16Matrix w(RandomFloats(rng, int64_t{shape.n} * shape.k), shape.n, shape.k);
    EXPECT_TRUE(SameBits(Multiply(KernelsFor(*isa).matmul, x, shape.m, w),
                         Multiply(kTilesUnderTestAvx512.matmul, x, shape.m, w)))
        << "m " << shape.m << " n " << shape.n << " k " << shape.k;
  }
}

// A matrix with an odd number of inputs stays in fp32, and so does the router.
TEST(PairsOfFp32Test, Fp32PanelsKeepTheirBits) {
  Rng rng = TestRng(39);
  const TestMatrix w(rng, 37, 25, 1.0);
  const std::vector<float> x = RandomFloats(rng, 11 * 25);
  std::vector<float> first;
  for (const IsaName isa : DetectIsas(WeightType::kBf16)) {
    if (isa == IsaName::kReference) continue;
    std::vector<float> y(11 * 37);
    KernelsFor(isa).matmul(
        {.x = x.data(), .x_stride = 25, .w = w.view(), .y = y.data(), .y_stride = 37, .m = 11});
    if (first.empty()) first = y;
    EXPECT_TRUE(SameBits(y, first)) << IsaText(isa);
  }
}

}  // namespace
}  // namespace r1::kernels
