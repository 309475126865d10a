// Packed weights, in fp32 or in bf16. Bf16 halves the bytes that a step reads.
//
// Two weights of a column that follow each other, k = 2j and 2j + 1, lie side by side in bf16: one
// load brings 16 such pairs. So K is even. They are multiplied in one of two ways:
//   in fp32 (every other instruction set): a shift and a mask take a pair apart, which widens
//     both weights exactly. A product has the bits of that with fp32 panels of the same weights.
//   in pairs (kAvx512Bf16, kAmxBf16): the other side is rounded to bf16 too, and one instruction
//     multiplies and adds 16 pairs, or 16 times as many for 16 rows; see matmul.h.
#pragma once

#include <bit>
#include <cstdint>

namespace r1::kernels {

enum class Bf16 : uint16_t {};

enum class WeightType { kFp32, kBf16 };

[[gnu::always_inline]] inline float Widen(Bf16 w) {
  return std::bit_cast<float>(static_cast<uint32_t>(w) << 16);
}

// Borrowed; one of the two is null.
struct Panels {
  constexpr Panels() = default;
  [[gnu::always_inline]] constexpr Panels(const float* weights) : fp32(weights) {}
  [[gnu::always_inline]] constexpr Panels(const Bf16* weights) : bf16(weights) {}

  // The panels that begin `weights` further on, a multiple of a panel's.
  [[gnu::always_inline]] Panels From(int64_t weights) const {
    return bf16 != nullptr ? Panels(bf16 + weights) : Panels(fp32 + weights);
  }
  // Of the first panel.
  [[gnu::always_inline]] float At(int64_t k, int64_t column) const {
    return bf16 != nullptr ? Widen(bf16[k / 2 * 32 + column * 2 + k % 2]) : fp32[k * 16 + column];
  }

  const float* fp32 = nullptr;
  const Bf16* bf16 = nullptr;
};

}  // namespace r1::kernels
