// The 16-lane vector that the fp32 kernels are written on, in AVX-512 registers. simd_avx2.h gives
// the same operations with the same rounding and the same order of every reduction, so that both
// instruction sets give equal bits.
//
// Included only by *_avx512.cc. Everything is a static member, so that no function compiled with
// these instructions shares its symbol with one that is not.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/panels.h"

namespace r1::kernels {

struct Avx512 {
  static constexpr bool kMultipliesPairs = false;
  static constexpr bool kHasTiles = false;

  using F = __m512;
  using Mask = __mmask16;
  struct D {  // 16 doubles
    __m512d low, high;
  };

  // Register tile of a matrix product: rows × panels of 16 columns. 24 of 32 registers accumulate,
  // which hides the latency of 4 cycles and needs 11 loads for 24 multiply-adds.
  static constexpr int kTileRows = 8;
  static constexpr int kTilePanels = 3;
  // Attention: heads × 4 tokens whose scores are accumulated at a time, and vectors of 16 latent
  // channels × 4 heads.
  static constexpr int kScoreHeads = 4;
  static constexpr int kSumVectors = 4;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float x) { return _mm512_set1_ps(x); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  // The two weights of 16 pairs.
  static void LoadPairs(const Bf16* p, F& first, F& second) {
    const __m512i pairs = _mm512_loadu_si512(p);
    first = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    second = _mm512_castsi512_ps(
        _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000))));
  }
  static void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  // The first n lanes, n in [0, 16]; the others load as zero and are not stored.
  static F LoadFirst(const float* p, int n) { return _mm512_maskz_loadu_ps(FirstLanes(n), p); }
  static void StoreFirst(float* p, F v, int n) { _mm512_mask_storeu_ps(p, FirstLanes(n), v); }

  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F MulAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c, rounded once
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }  // b when either is not a number
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // 2^n for integral n in [-126, 127].
  static F PowerOfTwo(F n) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }
  static F SwapPairs(F a) { return _mm512_permute_ps(a, 0xB1); }  // lanes 1 0 3 2 …

  static Mask FirstLanes(int n) { return static_cast<Mask>((1u << n) - 1u); }
  // The first n lanes of every quad, n in [0, 4].
  static Mask FirstOfQuads(int n) { return static_cast<Mask>(((1u << n) - 1u) * 0x1111u); }
  static Mask Less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  // Bit i: lanes i are equal.
  static unsigned EqualLanes(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static F Select(Mask mask, F yes, F no) { return _mm512_mask_blend_ps(mask, no, yes); }

  // Lane i with i + 8, then i + 4, i + 2, i + 1.
  static float ReduceAdd(F a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float ReduceMax(F a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  // Quads are the lanes 4q … 4q + 3. ReduceAdd of 16 vectors at once: lane 4q + j of the result
  // is the sum of a[q + 4j].
  static F ReduceAdd16(const F (&a)[16]) {
    F eights[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const F x = a[2 * i];
      const F y = a[2 * i + 1];
      eights[i] = Add(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));
    }
    F fours[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const F x = eights[2 * i];
      const F y = eights[2 * i + 1];
      fours[i] = Add(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xDD));
    }
    const F two0 = AddHalvesOfQuads(fours[0], fours[1]);
    const F two1 = AddHalvesOfQuads(fours[2], fours[3]);
    return Add(_mm512_shuffle_ps(two0, two1, 0x88), _mm512_shuffle_ps(two0, two1, 0xDD));
  }
  // The sum, or maximum, of a quad in each of its lanes.
  static F AddInQuads(F a) {
    const F two = Add(a, _mm512_permute_ps(a, 0x4E));
    return Add(two, SwapPairs(two));
  }
  static F MaxInQuads(F a) {
    const F two = Max(a, _mm512_permute_ps(a, 0x4E));
    return Max(two, SwapPairs(two));
  }
  // Quad q in every quad.
  template <int q>
  static F Quad(F a) {
    return _mm512_shuffle_f32x4(a, a, q * 0x55);
  }
  static D ZeroD() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static D AddD(D sum, F a) {
    return {_mm512_add_pd(sum.low, _mm512_cvtps_pd(_mm512_castps512_ps256(a))),
            _mm512_add_pd(sum.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)))};
  }
  // The order of ReduceAdd, in double precision.
  static double ReduceAddD(D a) {
    const __m512d eight = _mm512_add_pd(a.low, a.high);
    const __m256d four =
        _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }

 private:
  // In each quad: x0 + x2, x1 + x3, y0 + y2, y1 + y3.
  static F AddHalvesOfQuads(F x, F y) {
    return Add(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xEE));
  }
};

}  // namespace r1::kernels
