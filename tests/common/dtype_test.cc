// Every code of the narrow formats against the formula of its format, and every place where
// rounding changes its answer.

#include "common/dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace r1 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Format {
  const char* name;
  int exponent_bits;
  int mantissa_bits;
  bool infinities;
  std::function<float(uint32_t)> widen;
  std::function<uint32_t(float)> narrow;

  uint32_t codes() const { return 1u << (1 + exponent_bits + mantissa_bits); }
  uint32_t sign() const { return codes() / 2; }
  // The first magnitude that is no finite number.
  uint32_t magnitudes() const {
    return infinities ? ((1u << exponent_bits) - 1) << mantissa_bits : sign() - 1;
  }
};

const Format kFormats[] = {
    {"BF16", 8, 7, true, [](uint32_t code) { return Bf16ToFloat(static_cast<uint16_t>(code)); },
     [](float value) -> uint32_t { return FloatToBf16(value); }},
    {"F16", 5, 10, true, [](uint32_t code) { return HalfToFloat(static_cast<uint16_t>(code)); },
     [](float value) -> uint32_t { return FloatToHalf(value); }},
    {"F8_E4M3", 4, 3, false,
     [](uint32_t code) { return F8E4M3ToFloat(static_cast<uint8_t>(code)); },
     [](float value) -> uint32_t { return FloatToF8E4M3(value); }},
};

// (-1)^sign * 2^(exponent - bias) * 1.mantissa, or 0.mantissa at the least exponent.
double Formula(const Format& format, uint32_t magnitude) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
  const double fraction = static_cast<double>(magnitude & ((1u << format.mantissa_bits) - 1)) /
                          std::ldexp(1.0, format.mantissa_bits);
  return exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
}

TEST(DTypeTest, EveryCodeHasTheValueOfItsFormula) {
  for (const Format& format : kFormats) {
    for (uint32_t magnitude = 0; magnitude < format.sign(); ++magnitude) {
      const float value = format.widen(magnitude);
      const float negative = format.widen(format.sign() | magnitude);
      EXPECT_TRUE(std::signbit(negative)) << format.name << " " << magnitude;
      if (magnitude < format.magnitudes()) {
        EXPECT_EQ(static_cast<double>(value), Formula(format, magnitude));
        EXPECT_EQ(negative, -value);
      } else if (format.infinities && magnitude == format.magnitudes()) {
        EXPECT_EQ(value, kInfinity);
        EXPECT_EQ(negative, -kInfinity);
      } else {
        EXPECT_TRUE(std::isnan(value) && std::isnan(negative)) << format.name << " " << magnitude;
      }
    }
  }
}

TEST(DTypeTest, RoundingIsToNearestWithTiesToEvenBetweenAllCodes) {
  for (const Format& format : kFormats) {
    for (uint32_t code = 0; code + 1 < format.magnitudes(); ++code) {
      const double low = format.widen(code), high = format.widen(code + 1);
      const auto middle = static_cast<float>((low + high) / 2);
      ASSERT_EQ(static_cast<double>(middle), (low + high) / 2);
      const uint32_t even = code % 2 == 0 ? code : code + 1;
      ASSERT_EQ(format.narrow(static_cast<float>(low)), code) << format.name;
      ASSERT_EQ(format.narrow(middle), even) << format.name << " " << code;
      ASSERT_EQ(format.narrow(std::nextafter(middle, 0.f)), code) << format.name << " " << code;
      ASSERT_EQ(format.narrow(std::nextafter(middle, kInfinity)), code + 1) << format.name;
      ASSERT_EQ(format.narrow(-middle), format.sign() | even) << format.name << " " << code;
    }
  }
}

TEST(DTypeTest, WhatIsTooLargeBecomesInfinityOrNan) {
  for (const Format& format : kFormats) {
    const uint32_t largest = format.magnitudes() - 1;
    // Half a step above the largest: rounds up where the largest is odd, down to 448 in F8_E4M3.
    const double step = format.widen(largest) - format.widen(largest - 1);
    const auto middle = static_cast<float>(format.widen(largest) + step / 2);
    EXPECT_EQ(format.narrow(static_cast<float>(format.widen(largest))), largest) << format.name;
    EXPECT_EQ(format.narrow(std::nextafter(middle, 0.f)), largest) << format.name;
    EXPECT_EQ(format.narrow(middle), largest + largest % 2) << format.name;
    EXPECT_EQ(format.narrow(std::nextafter(middle, kInfinity)), largest + 1) << format.name;
    EXPECT_EQ(format.narrow(std::numeric_limits<float>::max()), largest + 1) << format.name;
    EXPECT_EQ(format.narrow(kInfinity), largest + 1) << format.name;
    EXPECT_EQ(format.narrow(-kInfinity), format.sign() | (largest + 1)) << format.name;
    for (const float nan : {std::nanf(""), -std::nanf(""), std::nanf("1")}) {
      EXPECT_TRUE(std::isnan(format.widen(format.narrow(nan)))) << format.name;
    }
  }
}

TEST(DTypeTest, WhatIsTooSmallBecomesZeroOfItsSign) {
  for (const Format& format : kFormats) {
    const float half = format.widen(1) / 2;
    for (const float tiny : {0.f, std::numeric_limits<float>::denorm_min(), half / 2, half}) {
      if (tiny > half) continue;  // BF16 reaches down to fp32's own subnormals
      EXPECT_EQ(format.narrow(tiny), 0u) << format.name << " " << tiny;
      EXPECT_EQ(format.narrow(-tiny), format.sign()) << format.name << " " << tiny;
    }
  }
}

TEST(DTypeTest, ArraysAreConvertedAtAnyAlignment) {
  const std::vector<float> values = {0.f, -1.5f, 448.f, 0x1p-9f, 3.25f};  // exact in all of them
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    std::string bytes(1 + values.size() * static_cast<size_t>(DTypeBytes(dtype)), 'x');
    FromFloats(values, dtype, bytes.data() + 1);
    EXPECT_EQ(bytes[0], 'x');
    std::vector<float> read(values.size());
    ToFloats(dtype, absl::string_view(bytes).substr(1), read);
    EXPECT_EQ(read, values) << DTypeName(dtype);
    ToFloats(dtype, "", {});
  }
}

TEST(DTypeTest, NamesAndSizesAreThoseOfTheFormat) {
  const std::pair<const char*, int64_t> kExpected[] = {
      {"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F8_E4M3", 1}, {"I32", 4}, {"I64", 8}, {"U8", 1}};
  for (const auto& [name, bytes] : kExpected) {
    const auto dtype = ParseDType(name);
    ASSERT_TRUE(dtype.ok());
    EXPECT_EQ(DTypeName(*dtype), name);
    EXPECT_EQ(DTypeBytes(*dtype), bytes);
    EXPECT_EQ(IsFloat(*dtype), name[0] == 'F' || name[0] == 'B');
  }
  EXPECT_THAT(std::string(ParseDType("f32").status().message()),
              testing::HasSubstr("expected one of F32, BF16"));
}

}  // namespace
}  // namespace r1
