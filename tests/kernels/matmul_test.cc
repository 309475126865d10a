#include "kernels/matmul.h"

#include "kernels/swiglu.h"
#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

struct Shape {
  int m, n, k;
};
// Multiples and remainders of every tile: 16 columns, 1 to 3 panels, 1 to 8 rows.
constexpr Shape kShapes[] = {{1, 1, 1},    {1, 16, 7},    {5, 17, 33},   {8, 48, 96}, {9, 96, 48},
                             {13, 31, 16}, {64, 176, 96}, {70, 40, 192}, {3, 100, 5}};

std::vector<float> Multiply(const KernelTable& kernels, const std::vector<float>& x, int m,
                            const TestMatrix& w) {
  std::vector<float> y(int64_t{m} * w.n, -7.0f);
  kernels.matmul(
      {.x = x.data(), .x_stride = w.k, .w = w.view(), .y = y.data(), .y_stride = w.n, .m = m});
  return y;
}

// A sum of k products in fp32, in any order, is within k * 2^-24 * Σ|x w| of the exact one (2^-24:
// half an ulp).
TEST(MatmulTest, AgreesWithFloat64) {
  for (const Shape shape : kShapes) {
    Rng rng = TestRng(1);
    const std::vector<float> x = RandomFloats(rng, int64_t{shape.m} * shape.k);
    const TestMatrix w(rng, shape.n, shape.k, 1.0);
    for (const KernelTable* kernels : AllKernels()) {
      const std::vector<float> y = Multiply(*kernels, x, shape.m, w);
      for (int m = 0; m < shape.m; ++m) {
        for (int n = 0; n < shape.n; ++n) {
          const float* row = &x[int64_t{m} * shape.k];
          const float* column = &w.plain[int64_t{n} * shape.k];
          double size = 0;
          for (int k = 0; k < shape.k; ++k)
            size += std::abs(static_cast<double>(row[k]) * column[k]);
          ASSERT_NEAR(y[int64_t{m} * shape.n + n], Dot(row, column, shape.k),
                      shape.k * 0x1p-24 * size)
              << IsaText(kernels->isa) << " m " << m << " n " << n << " k " << shape.k;
        }
      }
    }
  }
}

TEST(MatmulTest, AccumulateAddsOnceAtTheEnd) {
  Rng rng = TestRng(2);
  const std::vector<float> x = RandomFloats(rng, 11 * 24);
  const std::vector<float> before = RandomFloats(rng, 11 * 41);
  const TestMatrix w(rng, 41, 24, 1.0);
  for (const KernelTable* kernels : AllKernels()) {
    std::vector<float> y = before;
    kernels->matmul({.x = x.data(),
                     .x_stride = 24,
                     .w = w.view(),
                     .y = y.data(),
                     .y_stride = 41,
                     .m = 11,
                     .accumulate = true});
    std::vector<float> expected = Multiply(*kernels, x, 11, w);
    for (size_t i = 0; i < y.size(); ++i) expected[i] = before[i] + expected[i];
    EXPECT_TRUE(SameBits(y, expected)) << IsaText(kernels->isa);
  }
}

TEST(MatmulTest, ABiasIsAddedOnceBeforeWhatIsThere) {
  Rng rng = TestRng(8);
  for (const int n : {1, 16, 41, 48, 100}) {
    const std::vector<float> x = RandomFloats(rng, 11 * 24);
    const std::vector<float> before = RandomFloats(rng, 11 * n);
    const std::vector<float> bias = RandomFloats(rng, n);
    const TestMatrix w(rng, n, 24, 1.0);
    for (const KernelTable* kernels : AllKernels()) {
      const std::vector<float> product = Multiply(*kernels, x, 11, w);
      for (const bool accumulate : {false, true}) {
        std::vector<float> y = before;
        kernels->matmul({.x = x.data(),
                         .x_stride = 24,
                         .w = w.view(),
                         .bias = bias.data(),
                         .y = y.data(),
                         .y_stride = n,
                         .m = 11,
                         .accumulate = accumulate});
        std::vector<float> expected = product;
        for (size_t i = 0; i < y.size(); ++i) {
          expected[i] += bias[i % n];
          if (accumulate) expected[i] = before[i] + expected[i];
        }
        EXPECT_TRUE(SameBits(y, expected)) << IsaText(kernels->isa) << " n " << n;
      }
    }
  }
}

TEST(MatmulTest, RowIndexGathersAndStridesLeaveGapsAlone) {
  Rng rng = TestRng(3);
  const int k = 20;
  const std::vector<float> x = RandomFloats(rng, 30 * (k + 3));
  const TestMatrix w(rng, 19, k, 1.0);
  const std::vector<int32_t> rows = {29, 0, 7, 7, 3, 12, 1, 28, 4, 5, 6};
  for (const KernelTable* kernels : AllKernels()) {
    std::vector<float> y(rows.size() * 22, 5.0f);
    kernels->matmul({.x = x.data(),
                     .x_stride = k + 3,
                     .rows = rows.data(),
                     .w = w.view(),
                     .y = y.data(),
                     .y_stride = 22,
                     .m = static_cast<int>(rows.size())});
    for (size_t r = 0; r < rows.size(); ++r) {
      const std::vector<float> row(x.begin() + rows[r] * (k + 3),
                                   x.begin() + rows[r] * (k + 3) + k);
      const std::vector<float> alone = Multiply(*kernels, row, 1, w);
      EXPECT_EQ(0, std::memcmp(alone.data(), &y[r * 22], 19 * sizeof(float)))
          << IsaText(kernels->isa);
      EXPECT_THAT(std::vector<float>(y.begin() + r * 22 + 19, y.begin() + (r + 1) * 22),
                  testing::Each(5.0f));
    }
  }
}

TEST(MatmulTest, ARowHasTheSameBitsAtAnyPlaceOfAnyBatch) {
  Rng rng = TestRng(4);
  const TestMatrix w(rng, 80, 50, 1.0);
  const std::vector<float> x = RandomFloats(rng, 600 * 50);
  for (const KernelTable* kernels : FastKernels()) {
    const std::vector<float> whole = Multiply(*kernels, x, 600, w);
    for (int m = 1; m <= 600; m += m < 40 ? 1 : 37) {
      const int first = static_cast<int>(rng.NextBelow(600 - m + 1));
      const std::vector<float> part(x.begin() + first * 50, x.begin() + (first + m) * 50);
      const std::vector<float> y = Multiply(*kernels, part, m, w);
      ASSERT_EQ(0, std::memcmp(y.data(), &whole[first * 80], y.size() * sizeof(float)))
          << IsaText(kernels->isa) << " m " << m << " first " << first;
    }
  }
}

TEST(MatmulTest, InstructionSetsAgreeByBits) {
  const std::vector<const KernelTable*> fast = FastKernels();
  for (const Shape shape : kShapes) {
    Rng rng = TestRng(5);
    const std::vector<float> x = RandomFloats(rng, int64_t{shape.m} * shape.k);
    const TestMatrix w(rng, shape.n, shape.k, 1.0);
    for (const KernelTable* kernels : fast) {
      EXPECT_TRUE(SameBits(Multiply(*kernels, x, shape.m, w), Multiply(*fast[0], x, shape.m, w)));
    }
  }
}

std::vector<float> GateUp(const KernelTable& kernels, const std::vector<float>& x, int m,
                          const TestGateUp& w) {
  std::vector<float> y(int64_t{m} * w.gate.n);
  kernels.swiglu({.x = x.data(),
                  .x_stride = w.gate.k,
                  .w = w.view(),
                  .y = y.data(),
                  .y_stride = w.gate.n,
                  .m = m});
  return y;
}

// Gate and up are normal with deviation 2, and within about k^0.5 * 2^-24 * 2 of the exact sums;
// their product inherits that times the other factor.
TEST(SwigluTest, AgreesWithFloat64) {
  for (const Shape shape : kShapes) {
    Rng rng = TestRng(6);
    const std::vector<float> x = RandomFloats(rng, int64_t{shape.m} * shape.k);
    const TestGateUp w(rng, shape.n, shape.k, 2.0 / std::sqrt(shape.k));
    for (const KernelTable* kernels : AllKernels()) {
      const std::vector<float> y = GateUp(*kernels, x, shape.m, w);
      for (int m = 0; m < shape.m; ++m) {
        for (int n = 0; n < shape.n; ++n) {
          const double gate =
              Dot(&x[int64_t{m} * shape.k], &w.gate.plain[int64_t{n} * shape.k], shape.k);
          const double up =
              Dot(&x[int64_t{m} * shape.k], &w.up.plain[int64_t{n} * shape.k], shape.k);
          const double tolerance = 2e-6 * (1 + std::abs(gate)) * (1 + std::abs(up));
          ASSERT_NEAR(y[int64_t{m} * shape.n + n], NaiveSilu(gate) * up, tolerance)
              << IsaText(kernels->isa);
        }
      }
    }
  }
}

TEST(SwigluTest, BiasesAreAddedToBothProducts) {
  constexpr int kRows = 9;
  for (const int n : {1, 16, 31, 56}) {
    Rng rng = TestRng(9);
    const int k = 20;
    const std::vector<float> x = RandomFloats(rng, kRows * k);
    const TestGateUp w(rng, n, k, 0.3);
    const std::vector<float> gate_bias = RandomFloats(rng, n);
    const std::vector<float> up_bias = RandomFloats(rng, n);
    std::vector<float> first;
    for (const KernelTable* kernels : AllKernels()) {
      std::vector<float> y(kRows * n);
      kernels->swiglu({.x = x.data(),
                       .x_stride = k,
                       .w = w.view(),
                       .gate_bias = gate_bias.data(),
                       .up_bias = up_bias.data(),
                       .y = y.data(),
                       .y_stride = n,
                       .m = kRows});
      for (int m = 0; m < kRows; ++m) {
        for (int i = 0; i < n; ++i) {
          const double gate = Dot(&x[m * k], &w.gate.plain[i * k], k) + gate_bias[i];
          const double up = Dot(&x[m * k], &w.up.plain[i * k], k) + up_bias[i];
          ASSERT_NEAR(y[m * n + i], NaiveSilu(gate) * up,
                      2e-6 * (1 + std::abs(gate)) * (1 + std::abs(up)))
              << IsaText(kernels->isa);
        }
      }
      if (first.empty()) first = y;
      EXPECT_TRUE(kernels->isa == IsaName::kReference || SameBits(y, first));
    }
  }
}

TEST(SwigluTest, ExtremeGatesSaturate) {
  const float gates[] = {-1e30f, -200.0f, -88.0f, 0.0f, 88.0f, 200.0f, 1e30f};
  const std::vector<float> one = {1.0f};
  for (const KernelTable* kernels : AllKernels()) {
    for (const float gate : gates) {
      std::vector<float> packed(PackedGateUpFloats(1, 1));
      PackGateUp(&gate, one.data(), 1, 1, packed.data());
      float y = 0;
      kernels->swiglu({.x = one.data(),
                       .x_stride = 1,
                       .w = {packed.data(), 1, 1},
                       .y = &y,
                       .y_stride = 1,
                       .m = 1});
      // e^-x stops growing at 2.4e38, so a vanishing gate leaves |x| / 2.4e38.
      EXPECT_NEAR(y, gate > 0 ? gate : 0.0f, std::abs(gate) * 7e-39)
          << IsaText(kernels->isa) << " gate " << gate;
    }
  }
}

TEST(SwigluTest, BitsDependNeitherOnTheBatchNorOnTheInstructionSet) {
  Rng rng = TestRng(7);
  const TestGateUp w(rng, 56, 40, 0.3);
  const std::vector<float> x = RandomFloats(rng, 600 * 40);
  const std::vector<const KernelTable*> fast = FastKernels();
  for (const KernelTable* kernels : fast) {
    const std::vector<float> whole = GateUp(*kernels, x, 600, w);
    EXPECT_TRUE(SameBits(whole, GateUp(*fast[0], x, 600, w)));
    for (int m = 1; m <= 600; m += m < 20 ? 1 : 41) {
      const int first = static_cast<int>(rng.NextBelow(600 - m + 1));
      const std::vector<float> part(x.begin() + first * 40, x.begin() + (first + m) * 40);
      const std::vector<float> y = GateUp(*kernels, part, m, w);
      ASSERT_EQ(0, std::memcmp(y.data(), &whole[first * 56], y.size() * sizeof(float)))
          << IsaText(kernels->isa);
    }
  }
}

}  // namespace
}  // namespace r1::kernels
