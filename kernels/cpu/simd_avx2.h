// The 16-lane vector of simd_avx512.h in pairs of AVX2 registers: equal operations, roundings and
// reduction orders.
//
// Included only by *_avx2.cc; everything is a static member for the reason given there.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/panels.h"

namespace r1::kernels {

struct Avx2 {
  static constexpr bool kMultipliesPairs = false;
  static constexpr bool kHasTiles = false;

  struct F {
    __m256 low, high;  // lanes 0-7, 8-15
  };
  struct Mask {
    __m256 low, high;  // all bits of a lane, or none
  };
  struct D {
    __m256d q0, q1, q2, q3;  // lanes 0-3, 4-7, 8-11, 12-15
  };

  // 12 of 16 registers accumulate; see simd_avx512.h.
  static constexpr int kTileRows = 6;
  static constexpr int kTilePanels = 1;
  static constexpr int kScoreHeads = 1;
  static constexpr int kSumVectors = 1;

  static F Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void LoadPairs(const Bf16* p, F& first, F& second) {
    LoadEightPairs(p, first.low, second.low);
    LoadEightPairs(p + 16, first.high, second.high);
  }
  static void Store(float* p, F v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
  }
  static F LoadFirst(const float* p, int n) {
    const Mask mask = FirstLanes(n);
    return {_mm256_maskload_ps(p, _mm256_castps_si256(mask.low)),
            _mm256_maskload_ps(p + 8, _mm256_castps_si256(mask.high))};
  }
  static void StoreFirst(float* p, F v, int n) {
    const Mask mask = FirstLanes(n);
    _mm256_maskstore_ps(p, _mm256_castps_si256(mask.low), v.low);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(mask.high), v.high);
  }

  static F Add(F a, F b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static F Sub(F a, F b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static F Mul(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static F Div(F a, F b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static F MulAdd(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static F Min(F a, F b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  static F Max(F a, F b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static F Round(F a) {
    return {_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static F PowerOfTwo(F n) { return {PowerOfTwo(n.low), PowerOfTwo(n.high)}; }
  static F SwapPairs(F a) {
    return {_mm256_permute_ps(a.low, 0xB1), _mm256_permute_ps(a.high, 0xB1)};
  }

  static Mask FirstLanes(int n) {
    const __m256i count = _mm256_set1_epi32(n);
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
    return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, low)),
            _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, high))};
  }
  static Mask FirstOfQuads(int n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3);
    const __m256 mask = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes));
    return {mask, mask};
  }
  static Mask Less(F a, F b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
  }
  static unsigned EqualLanes(F a, F b) {
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
    return static_cast<unsigned>(low | high << 8);
  }
  static F Select(Mask mask, F yes, F no) {
    return {_mm256_blendv_ps(no.low, yes.low, mask.low),
            _mm256_blendv_ps(no.high, yes.high, mask.high)};
  }

  static float ReduceAdd(F a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float ReduceMax(F a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static F ReduceAdd16(const F (&a)[16]) {
    __m256 fours[8];  // fours[2j + k] holds a[2k + 4j] and a[2k + 4j + 1]
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const __m256 x = _mm256_add_ps(a[2 * i].low, a[2 * i].high);
      const __m256 y = _mm256_add_ps(a[2 * i + 1].low, a[2 * i + 1].high);
      fours[i] =
          _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    }
    return {ReduceFours(fours[0], fours[2], fours[4], fours[6]),
            ReduceFours(fours[1], fours[3], fours[5], fours[7])};
  }
  static F AddInQuads(F a) {
    const F two = Add(a, {_mm256_permute_ps(a.low, 0x4E), _mm256_permute_ps(a.high, 0x4E)});
    return Add(two, SwapPairs(two));
  }
  static F MaxInQuads(F a) {
    const F two = Max(a, {_mm256_permute_ps(a.low, 0x4E), _mm256_permute_ps(a.high, 0x4E)});
    return Max(two, SwapPairs(two));
  }
  template <int q>
  static F Quad(F a) {
    const __m256 half = q < 2 ? a.low : a.high;
    const __m256 all = _mm256_permute2f128_ps(half, half, q % 2 == 0 ? 0x00 : 0x11);
    return {all, all};
  }
  static D ZeroD() {
    return {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
  }
  static D AddD(D sum, F a) {
    return {_mm256_add_pd(sum.q0, _mm256_cvtps_pd(_mm256_castps256_ps128(a.low))),
            _mm256_add_pd(sum.q1, _mm256_cvtps_pd(_mm256_extractf128_ps(a.low, 1))),
            _mm256_add_pd(sum.q2, _mm256_cvtps_pd(_mm256_castps256_ps128(a.high))),
            _mm256_add_pd(sum.q3, _mm256_cvtps_pd(_mm256_extractf128_ps(a.high, 1)))};
  }
  static double ReduceAddD(D a) {
    const __m256d four = _mm256_add_pd(_mm256_add_pd(a.q0, a.q2), _mm256_add_pd(a.q1, a.q3));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }

 private:
  static void LoadEightPairs(const Bf16* p, __m256& first, __m256& second) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    first = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    second = _mm256_castsi256_ps(
        _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xFFFF0000))));
  }
  static __m256 PowerOfTwo(__m256 n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
  static __m256 ReduceFours(__m256 a, __m256 b, __m256 c, __m256 d) {
    const __m256 ab = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE));
    const __m256 cd = _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x44), _mm256_shuffle_ps(c, d, 0xEE));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xDD));
  }
};

}  // namespace r1::kernels
