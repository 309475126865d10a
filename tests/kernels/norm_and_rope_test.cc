#include <numeric>

#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

std::vector<float> Normalise(const KernelTable& kernels, const std::vector<float>& x, int rows,
                             const std::vector<float>& weight, float eps) {
  const int columns = static_cast<int>(weight.size());
  std::vector<float> y(x.size());
  kernels.rms_norm({.x = x.data(),
                    .x_stride = columns,
                    .weight = weight.data(),
                    .y = y.data(),
                    .y_stride = columns,
                    .row_count = rows,
                    .columns = columns,
                    .eps = eps});
  return y;
}

// The mean of squares is within columns * 2^-24, its root within half of that; three more roundings
// follow.
TEST(RmsNormTest, AgreesWithFloat64) {
  for (const int columns : {1, 7, 16, 32, 96, 100, 500}) {
    Rng rng = TestRng(1);
    const std::vector<float> x = RandomFloats(rng, 9 * columns, 3);
    const std::vector<float> weight = RandomFloats(rng, columns);
    for (const KernelTable* kernels : AllKernels()) {
      const std::vector<float> y = Normalise(*kernels, x, 9, weight, 1e-6f);
      for (int row = 0; row < 9; ++row) {
        const float* values = &x[row * columns];
        const double scale = 1 / std::sqrt(Dot(values, values, columns) / columns + 1e-6);
        for (int c = 0; c < columns; ++c) {
          const double expected = values[c] * scale * weight[c];
          ASSERT_NEAR(y[row * columns + c], expected,
                      std::abs(expected) * (columns / 2 + 3) * 0x1p-24 + 1e-30)
              << IsaText(kernels->isa) << " columns " << columns;
        }
      }
    }
  }
}

TEST(RmsNormTest, GathersRowsWorksInPlaceAndKeepsBits) {
  Rng rng = TestRng(2);
  const int columns = 44;
  const std::vector<float> x = RandomFloats(rng, 50 * columns);
  const std::vector<float> weight = RandomFloats(rng, columns);
  const std::vector<int32_t> rows = {49, 3, 3, 0, 17};
  const std::vector<const KernelTable*> all = AllKernels();
  for (const KernelTable* kernels : all) {
    const std::vector<float> whole = Normalise(*kernels, x, 50, weight, 1e-5f);
    std::vector<float> gathered(rows.size() * columns);
    kernels->rms_norm({.x = x.data(),
                       .x_stride = columns,
                       .rows = rows.data(),
                       .weight = weight.data(),
                       .y = gathered.data(),
                       .y_stride = columns,
                       .row_count = 5,
                       .columns = columns,
                       .eps = 1e-5f});
    for (size_t r = 0; r < rows.size(); ++r) {
      EXPECT_EQ(0, std::memcmp(&gathered[r * columns], &whole[rows[r] * columns],
                               columns * sizeof(float)));
    }
    std::vector<float> in_place = x;
    kernels->rms_norm({.x = in_place.data(),
                       .x_stride = columns,
                       .weight = weight.data(),
                       .y = in_place.data(),
                       .y_stride = columns,
                       .row_count = 50,
                       .columns = columns,
                       .eps = 1e-5f});
    EXPECT_TRUE(SameBits(in_place, whole)) << IsaText(kernels->isa);
    EXPECT_TRUE(kernels->isa == IsaName::kReference ||
                SameBits(whole, Normalise(*all[0], x, 50, weight, 1e-5f)));
  }
}

// cos and sin are fp32 of an fp32 angle; the rotation adds two roundings.
TEST(RopeTest, RotatesPairsByPositionTimesFrequency) {
  Rng rng = TestRng(3);
  const int heads = 3, head_stride = 70, stride = heads * head_stride;
  const std::vector<int32_t> positions = {0, 1, 5, 63, 999};
  const std::vector<float> x = RandomFloats(rng, positions.size() * stride);
  for (const int dim : {2, 4, 16, 24, 64}) {
    for (const bool interleaved : {true, false}) {
      std::vector<float> frequencies;
      for (int i = 0; i < dim / 2; ++i) {
        frequencies.push_back(static_cast<float>(1.0 / std::pow(1000.0, 2.0 * i / dim)));
      }
      const std::vector<float> table = MakeRopeTable(frequencies, 1, interleaved, 1000);
      std::vector<float> first;
      for (const KernelTable* kernels : AllKernels()) {
        std::vector<float> y(x.size());
        kernels->rope({.table = table.data(),
                       .dim = dim,
                       .interleaved = interleaved,
                       .positions = positions.data(),
                       .row_count = static_cast<int>(positions.size()),
                       .heads = heads,
                       .x = x.data(),
                       .x_stride = stride,
                       .x_head_stride = head_stride,
                       .y = y.data(),
                       .y_stride = stride,
                       .y_head_stride = head_stride});
        for (size_t r = 0; r < positions.size(); ++r) {
          for (int i = 0; i < heads * dim / 2; ++i) {
            const int64_t base = r * stride + i / (dim / 2) * head_stride;
            const int pair = i % (dim / 2);
            const int64_t a = base + (interleaved ? 2 * pair : pair);
            const int64_t b = base + (interleaved ? 2 * pair + 1 : pair + dim / 2);
            const float frequency = static_cast<float>(std::pow(1000.0, -2.0 * pair / dim));
            const double angle = static_cast<float>(positions[r]) * frequency;
            const double tolerance = 0x1p-22 * (std::abs(x[a]) + std::abs(x[b]));
            ASSERT_NEAR(y[a], x[a] * std::cos(angle) - x[b] * std::sin(angle), tolerance);
            ASSERT_NEAR(y[b], x[b] * std::cos(angle) + x[a] * std::sin(angle), tolerance);
          }
        }
        if (first.empty()) first = y;
        EXPECT_TRUE(kernels->isa == IsaName::kReference || SameBits(y, first));
      }
    }
  }
}

}  // namespace
}  // namespace r1::kernels
