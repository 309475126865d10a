// The vector of simd_avx512.h with the BF16 instructions: products with bf16 panels are taken in
// pairs (matmul.h). What is fp32 stays as it is there.
//
// Included only by *_bf16_avx512.cc.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

struct Avx512Bf16 : Avx512 {
  static constexpr bool kMultipliesPairs = true;

  using Pairs = __m512bh;  // 16 of two neighbours in k

  static Pairs LoadPanelPairs(const Bf16* p) { return std::bit_cast<Pairs>(_mm512_loadu_si512(p)); }
  // The same pair 16 times.
  static Pairs SetPair(const Bf16* p) {
    int pair;
    __builtin_memcpy(&pair, p, sizeof(pair));
    return std::bit_cast<Pairs>(_mm512_set1_epi32(pair));
  }
  // sum + the products of each pair.
  static F AddPairs(F sum, Pairs x, Pairs w) { return _mm512_dpbf16_ps(sum, x, w); }
  // Rounds 16 numbers, of which the first n are read and the others count as zero.
  static void RoundFirst(const float* x, int n, Bf16* rounded) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rounded),
                        std::bit_cast<__m256i>(_mm512_cvtneps_pbh(LoadFirst(x, n))));
  }
};

}  // namespace r1::kernels
