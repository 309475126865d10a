#include "common/dtype.h"

#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/utf8.h"

namespace r1 {
namespace {

struct DTypeInfo {
  DType dtype;
  const char* name;
  int64_t bytes;
  bool is_float;
};

constexpr DTypeInfo kDTypes[] = {
    {DType::kF32, "F32", 4, true},  {DType::kBF16, "BF16", 2, true},
    {DType::kF16, "F16", 2, true},  {DType::kF8E4M3, "F8_E4M3", 1, true},
    {DType::kI32, "I32", 4, false}, {DType::kI64, "I64", 8, false},
    {DType::kU8, "U8", 1, false},
};

const DTypeInfo& Info(DType dtype) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.dtype == dtype) return info;
  }
  CheckFailed(__FILE__, __LINE__, "dtype is a DType");
}

constexpr uint32_t kSign = 0x80000000u;
constexpr uint32_t kInfinity = 0x7F800000u;
constexpr int kFloatMantissaBits = 23;
constexpr int kFloatBias = 127;

// A format of sign, exponent and mantissa, narrower than fp32.
struct NarrowFormat {
  int mantissa_bits;
  int bias;
  uint32_t overflow;  // the magnitude code of what is too large
  uint32_t nan;       // of NaN
};
constexpr NarrowFormat kHalf = {10, 15, 0x7C00, 0x7E00};
constexpr NarrowFormat kF8E4M3 = {3, 7, 0x7F, 0x7F};

// A finite magnitude of fp32 as the nearest code of the format, ties to even; codes at and above
// `overflow` stand for what is too large.
uint32_t RoundMagnitude(uint32_t magnitude, const NarrowFormat& format) {
  const int exponent = static_cast<int>(magnitude >> kFloatMantissaBits) - kFloatBias + format.bias;
  const uint32_t mantissa = magnitude & ((1u << kFloatMantissaBits) - 1);
  int shift = kFloatMantissaBits - format.mantissa_bits;
  uint32_t code;
  if (exponent > 0) {
    code = static_cast<uint32_t>(exponent) << kFloatMantissaBits | mantissa;  // may carry: right
  } else {
    // A subnormal of the narrow format, whose exponent is that of the least normal number.
    shift += 1 - exponent;
    if (shift > kFloatMantissaBits + 2) return 0;  // below half of the least subnormal
    code = mantissa | 1u << kFloatMantissaBits;
  }
  const uint32_t odd = code >> shift & 1;
  return (code + (1u << (shift - 1)) - 1 + odd) >> shift;
}

// The code with its sign in the bit above exponent and mantissa.
uint32_t Narrow(float value, const NarrowFormat& format, int sign_bit) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & ~kSign;
  const uint32_t sign = (bits & kSign) != 0 ? 1u << sign_bit : 0;
  if (magnitude > kInfinity) return sign | format.nan;
  if (magnitude == kInfinity) return sign | format.overflow;
  const uint32_t code = RoundMagnitude(magnitude, format);
  return sign | (code > format.overflow ? format.overflow : code);
}

// A finite magnitude code as fp32, exactly.
float WidenMagnitude(uint32_t code, const NarrowFormat& format) {
  const uint32_t mantissa = code & ((1u << format.mantissa_bits) - 1);
  const uint32_t exponent = code >> format.mantissa_bits;
  if (exponent == 0) {  // zero or subnormal
    const int least_exponent = 1 - format.bias - format.mantissa_bits + kFloatBias;
    return static_cast<float>(mantissa) *
           std::bit_cast<float>(static_cast<uint32_t>(least_exponent) << kFloatMantissaBits);
  }
  return std::bit_cast<float>((exponent + static_cast<uint32_t>(kFloatBias - format.bias))
                                  << kFloatMantissaBits |
                              mantissa << (kFloatMantissaBits - format.mantissa_bits));
}

const std::array<float, 256>& F8E4M3Values() {
  static const auto* values = [] {
    auto* table = new std::array<float, 256>;
    for (uint32_t code = 0; code < 256; ++code) {
      const uint32_t magnitude = code & 0x7F;
      const float value = magnitude == kF8E4M3.nan ? std::bit_cast<float>(kInfinity | 1u << 22)
                                                   : WidenMagnitude(magnitude, kF8E4M3);
      (*table)[code] = code >> 7 != 0 ? -value : value;
    }
    return table;
  }();
  return *values;
}

template <typename Code, typename Function>
void Widen(absl::string_view bytes, std::span<float> values, Function function) {
  for (size_t i = 0; i < values.size(); ++i) {
    Code code;
    std::memcpy(&code, bytes.data() + sizeof(Code) * i, sizeof(Code));
    values[i] = function(code);
  }
}

template <typename Code, typename Function>
void NarrowAll(std::span<const float> values, char* bytes, Function function) {
  for (size_t i = 0; i < values.size(); ++i) {
    const Code code = function(values[i]);
    std::memcpy(bytes + sizeof(Code) * i, &code, sizeof(Code));
  }
}

}  // namespace

absl::string_view DTypeName(DType dtype) { return Info(dtype).name; }

int64_t DTypeBytes(DType dtype) { return Info(dtype).bytes; }

bool IsFloat(DType dtype) { return Info(dtype).is_float; }

absl::StatusOr<DType> ParseDType(absl::string_view name) {
  std::vector<std::string> known;
  for (const DTypeInfo& info : kDTypes) {
    if (name == info.name) return info.dtype;
    known.push_back(info.name);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "dtype: expected one of ", absl::StrJoin(known, ", "), ", found ", Quoted(name)));
}

float Bf16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

float HalfToFloat(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t magnitude = bits & 0x7FFFu;
  const uint32_t wide = magnitude >= kHalf.overflow
                            ? kInfinity | (magnitude & 0x3FF) << 13
                            : std::bit_cast<uint32_t>(WidenMagnitude(magnitude, kHalf));
  return std::bit_cast<float>(sign | wide);
}

float F8E4M3ToFloat(uint8_t bits) { return F8E4M3Values()[bits]; }

uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // The cut must not turn a NaN into infinity, nor the carry into a number.
  if ((bits & ~kSign) > kInfinity) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

uint16_t FloatToHalf(float value) { return static_cast<uint16_t>(Narrow(value, kHalf, 15)); }

uint8_t FloatToF8E4M3(float value) { return static_cast<uint8_t>(Narrow(value, kF8E4M3, 7)); }

void ToFloats(DType dtype, absl::string_view bytes, std::span<float> values) {
  R1_CHECK(bytes.size() == values.size() * static_cast<size_t>(DTypeBytes(dtype)));
  switch (dtype) {
    case DType::kF32:
      if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
      return;
    case DType::kBF16:
      return Widen<uint16_t>(bytes, values, Bf16ToFloat);
    case DType::kF16:
      return Widen<uint16_t>(bytes, values, HalfToFloat);
    case DType::kF8E4M3: {
      const std::array<float, 256>& table = F8E4M3Values();
      return Widen<uint8_t>(bytes, values, [&table](uint8_t code) { return table[code]; });
    }
    default:
      R1_CHECK(IsFloat(dtype));
  }
}

void FromFloats(std::span<const float> values, DType dtype, char* bytes) {
  switch (dtype) {
    case DType::kF32:
      if (!values.empty()) std::memcpy(bytes, values.data(), values.size_bytes());
      return;
    case DType::kBF16:
      return NarrowAll<uint16_t>(values, bytes, FloatToBf16);
    case DType::kF16:
      return NarrowAll<uint16_t>(values, bytes, FloatToHalf);
    case DType::kF8E4M3:
      return NarrowAll<uint8_t>(values, bytes, FloatToF8E4M3);
    default:
      R1_CHECK(IsFloat(dtype));
  }
}

}  // namespace r1
