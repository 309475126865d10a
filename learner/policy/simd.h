// One vector type for the learner's CPU kernels. Each cpu_kernels_<isa>.cc sets the width and a
// namespace, then includes the kernels' bodies, so that one source becomes AVX-512, AVX2 and plain
// code without any of it being shared by the linker. Only those files include this header.
#pragma once

#if !defined(R1_SIMD_BYTES) || !defined(R1_SIMD_NAMESPACE)
#error "define R1_SIMD_BYTES (16, 32 or 64) and R1_SIMD_NAMESPACE before including this header"
#endif

#if R1_SIMD_BYTES > 16
#include <immintrin.h>
#endif

#include <bit>
#include <cstdint>
#include <cstring>

namespace r1::learner::R1_SIMD_NAMESPACE {

typedef float Vec __attribute__((vector_size(R1_SIMD_BYTES)));
typedef int32_t IntVec __attribute__((vector_size(R1_SIMD_BYTES)));
typedef float UnalignedVec __attribute__((vector_size(R1_SIMD_BYTES), aligned(4), may_alias));

constexpr int kLanes = R1_SIMD_BYTES / 4;

inline Vec Load(const float* source) { return *reinterpret_cast<const UnalignedVec*>(source); }
inline void Store(float* target, Vec value) { *reinterpret_cast<UnalignedVec*>(target) = value; }
inline Vec Set(float value) { return value - Vec{}; }

// The first `count` lanes; the others read as 0 and are not written. With a constant kLanes the
// branch folds away.
inline Vec Load(const float* source, int64_t count) {
  if (count == kLanes) return Load(source);
  Vec value{};
  std::memcpy(&value, source, static_cast<size_t>(count) * sizeof(float));
  return value;
}
inline void Store(float* target, Vec value, int64_t count) {
  if (count == kLanes) return Store(target, value);
  std::memcpy(target, &value, static_cast<size_t>(count) * sizeof(float));
}

// a * b + c, in one rounding where the machine has it.
inline Vec Fma(Vec a, Vec b, Vec c) {
#if R1_SIMD_BYTES == 64
  return _mm512_fmadd_ps(a, b, c);
#elif R1_SIMD_BYTES == 32
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// Not a number in `a` stays.
inline Vec Max(Vec a, Vec b) { return a < b ? b : a; }

// a0 b0 a1 b1 … of the first, or of the second, half of the lanes.
inline Vec InterleaveLow(Vec a, Vec b) {
#if R1_SIMD_BYTES == 64
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif R1_SIMD_BYTES == 32
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
inline Vec InterleaveHigh(Vec a, Vec b) {
#if R1_SIMD_BYTES == 64
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
#elif R1_SIMD_BYTES == 32
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// Combines all lanes by halving, the same order always.
template <typename F>
inline float ReduceLanes(Vec value, F combine) {
  typedef float Four __attribute__((vector_size(16)));
#if R1_SIMD_BYTES == 64
  const auto low8 = __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7);
  const auto high8 = __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto eight = combine(low8, high8);
#elif R1_SIMD_BYTES == 32
  const Vec eight = value;
#endif
#if R1_SIMD_BYTES >= 32
  const Four low4 = __builtin_shufflevector(eight, eight, 0, 1, 2, 3);
  const Four high4 = __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  const Four four = combine(low4, high4);
#else
  const Four four = value;
#endif
  const Four two = combine(four, __builtin_shufflevector(four, four, 2, 3, 0, 1));
  const Four one = combine(two, __builtin_shufflevector(two, two, 1, 0, 3, 2));
  return one[0];
}
inline float SumLanes(Vec value) {
  return ReduceLanes(value, [](auto a, auto b) { return a + b; });
}
inline float MaxLanes(Vec value) {
  return ReduceLanes(value, [](auto a, auto b) { return a < b ? b : a; });
}

// 0, 1, 2, …
inline IntVec LaneIndices() {
  IntVec index;
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return index;
}

// e^x to about one unit in the last place. Below -87.3 it stays at 1.2e-38; above 88.7 it is
// infinite.
inline Vec Exp(Vec x) {
  const Vec low = Set(-87.33654f), high = Set(88.8f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits.
  const Vec magic = Set(12582912.0f);
  const Vec shifted = Fma(x, Set(1.44269504f), magic);
  const Vec n = shifted - magic;
  Vec r = Fma(n, Set(-0.693359375f),
              x);  // ln 2 in two parts: the first has few enough bits to be exact
  r = Fma(n, Set(2.12194440e-4f), r);
  // Taylor's series to r^7; the remainder is below 6e-9.
  Vec sum = Set(1.0f / 5040);
  constexpr float kSeries[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (const float coefficient : kSeries) sum = Fma(sum, r, Set(coefficient));
  // 2^n by its exponent bits, in two factors so that n = 128 gives infinity and not nonsense.
  const IntVec exponent = std::bit_cast<IntVec>(shifted) - std::bit_cast<IntVec>(magic);
  const IntVec half = exponent >> 1;
  const IntVec scale1 = (half + 127) << 23;
  const IntVec scale2 = (exponent - half + 127) << 23;
  return sum * std::bit_cast<Vec>(scale1) * std::bit_cast<Vec>(scale2);
}

inline Vec Sigmoid(Vec x) { return Set(1.0f) / (Set(1.0f) + Exp(-x)); }

// target[c * target_row + t] = source[t * source_row + c] for t, c in [0, kLanes): log2(kLanes)
// rounds in which the first and the second half of the rows are interleaved.
inline void TransposeBlock(const float* source, int64_t source_row, float* target,
                           int64_t target_row) {
  Vec rows[kLanes], next[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = Load(source + i * source_row);
  for (int round = 1; round < kLanes; round *= 2) {
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = InterleaveLow(rows[i], rows[i + kLanes / 2]);
      next[2 * i + 1] = InterleaveHigh(rows[i], rows[i + kLanes / 2]);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
  for (int i = 0; i < kLanes; ++i) Store(target + i * target_row, rows[i]);
}

// Calls f(offset, lanes) over [0, count) in vectors; the last call may have fewer lanes.
template <typename F>
inline void ForEachVec(int64_t count, F f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, int64_t{kLanes});
  if (i < count) f(i, count - i);
}

}  // namespace r1::learner::R1_SIMD_NAMESPACE
