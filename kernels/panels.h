// Packed weights, in fp32 or in bf16. Bf16 halves the bytes that a step reads; each weight is
// widened, which is exact, before it is multiplied in fp32. So a product with bf16 panels has the
// bits of the product with fp32 panels of the same, rounded weights.
#pragma once

#include <bit>
#include <cstdint>

namespace r1::kernels {

enum class Bf16 : uint16_t {};

[[gnu::always_inline]] inline float Widen(Bf16 w) {
  return std::bit_cast<float>(static_cast<uint32_t>(w) << 16);
}

// Borrowed; one of the two is null.
struct Panels {
  constexpr Panels() = default;
  [[gnu::always_inline]] constexpr Panels(const float* weights) : fp32(weights) {}
  [[gnu::always_inline]] constexpr Panels(const Bf16* weights) : bf16(weights) {}

  // The panels that begin `weights` further on.
  [[gnu::always_inline]] Panels From(int64_t weights) const {
    return bf16 != nullptr ? Panels(bf16 + weights) : Panels(fp32 + weights);
  }
  [[gnu::always_inline]] float operator[](int64_t i) const {
    return bf16 != nullptr ? Widen(bf16[i]) : fp32[i];
  }

  const float* fp32 = nullptr;
  const Bf16* bf16 = nullptr;
};

}  // namespace r1::kernels
