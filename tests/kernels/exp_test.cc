#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "tests/kernels/exp_under_test.h"
#include "tests/kernels/kernel_testing.h"

namespace r1::kernels {
namespace {

using ExpFunction = void (*)(const float* x, int64_t count, float* y);

std::vector<ExpFunction> ExpFunctions() {
  std::vector<ExpFunction> functions;
  for (const KernelTable* kernels : FastKernels()) {
    functions.push_back(kernels->isa == IsaName::kAvx512 ? ExpUnderTestAvx512 : ExpUnderTestAvx2);
  }
  return functions;
}

// Every 61st float between the limits, about 35 million, against the C library's double exp.
TEST(ExpTest, ErrorIsBelowOneUlp) {
  constexpr int kChunk = 1 << 14;
  std::vector<float> x(kChunk);
  std::vector<float> y(kChunk);
  for (const ExpFunction function : ExpFunctions()) {
    double worst = 0;
    for (const float limit : {88.37f, -87.33654f}) {
      const uint32_t sign = limit < 0 ? 0x80000000u : 0;
      const uint32_t end = std::bit_cast<uint32_t>(limit) - sign;
      for (uint32_t bits = 0; bits < end;) {
        for (float& value : x) {
          value = std::bit_cast<float>(std::min(bits, end) | sign);
          bits += 61;
        }
        function(x.data(), kChunk, y.data());
        for (int i = 0; i < kChunk; ++i) {
          const double exact = std::exp(static_cast<double>(x[i]));
          const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
          worst = std::max(worst, std::abs(y[i] - exact) / ulp);
        }
      }
    }
    EXPECT_LT(worst, 0.9);
    RecordProperty("worst_ulp", std::to_string(worst));
  }
}

TEST(ExpTest, LimitsAndSpecialValues) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> x(16, 0.0f);
  x[0] = -kInfinity, x[1] = -1e30f, x[2] = -87.4f, x[3] = 0.0f, x[4] = -0.0f, x[5] = 89.0f,
  x[6] = kInfinity;
  x[7] = std::numeric_limits<float>::quiet_NaN();
  for (const ExpFunction function : ExpFunctions()) {
    std::vector<float> y(16);
    function(x.data(), 16, y.data());
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], 0.0f);
    EXPECT_EQ(y[2], 0.0f);
    EXPECT_EQ(y[3], 1.0f);
    EXPECT_EQ(y[4], 1.0f);
    EXPECT_NEAR(y[5], std::exp(88.37), 1e33);
    EXPECT_EQ(y[6], y[5]);
    EXPECT_TRUE(std::isnan(y[7]));
  }
}

TEST(ExpTest, InstructionSetsAndLanesAgreeByBits) {
  Rng rng = TestRng(1);
  const std::vector<float> x = RandomFloats(rng, 1 << 16, 30);
  std::vector<float> first(x.size());
  for (const ExpFunction function : ExpFunctions()) {
    std::vector<float> y(x.size());
    function(x.data(), static_cast<int64_t>(x.size()), y.data());
    if (function == ExpFunctions()[0]) first = y;
    EXPECT_TRUE(SameBits(y, first));
    for (size_t i = 0; i < x.size(); i += 997) {
      const std::vector<float> same(16, x[i]);
      std::vector<float> lanes(16);
      function(same.data(), 16, lanes.data());
      EXPECT_TRUE(SameBits(lanes, std::vector<float>(16, y[i])));
    }
  }
}

}  // namespace
}  // namespace r1::kernels
