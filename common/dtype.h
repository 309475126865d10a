// Element types of tensors, and their values as fp32: BF16, F16 and F8_E4M3 (Micikevicius et al.,
// 2209.05433, the variant without infinities that PyTorch calls float8_e4m3fn). Widening is exact;
// narrowing rounds to nearest, ties to even, as PyTorch and ml_dtypes do.
#pragma once

#include <cstdint>
#include <span>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

enum class DType { kF32, kBF16, kF16, kF8E4M3, kI32, kI64, kU8 };

// safetensors' name ("F32") and element size in bytes.
absl::string_view DTypeName(DType dtype);
int64_t DTypeBytes(DType dtype);
[[nodiscard]] absl::StatusOr<DType> ParseDType(absl::string_view name);
// F32, BF16, F16 and F8_E4M3.
bool IsFloat(DType dtype);

float Bf16ToFloat(uint16_t bits);
float HalfToFloat(uint16_t bits);
float F8E4M3ToFloat(uint8_t bits);

// NaN stays NaN. What is too large becomes infinity, or NaN in F8_E4M3, which has no infinity: its
// largest value is 448, and anything that rounds above it is NaN.
uint16_t FloatToBf16(float value);
uint16_t FloatToHalf(float value);
uint8_t FloatToF8E4M3(float value);

// The elements of `bytes` as fp32. IsFloat(dtype), and one value for each element; the bytes may
// lie at any alignment.
void ToFloats(DType dtype, absl::string_view bytes, std::span<float> values);

// The counterpart: writes values.size() * DTypeBytes(dtype) bytes to `bytes`.
void FromFloats(std::span<const float> values, DType dtype, char* bytes);

}  // namespace r1
