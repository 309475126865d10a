// The loop behind PeakFlopsPerSecond, for one vector type.
#pragma once

#include <cstdint>

namespace r1::kernels {

inline constexpr int kFmaLoopFlops = 6 * 16 * 2;  // of one iteration

// Returns a number that depends on every multiply-add, so that none can be left out.
float FmaLoopAvx2(int64_t iterations);
float FmaLoopAvx512(int64_t iterations);

// Six chains of 16 lanes are twelve registers in AVX2; both they and six wide ones hide a latency
// of four cycles.
template <class V>
[[gnu::always_inline]] inline float FmaLoop(int64_t iterations) {
  typename V::F chains[6];
  for (int c = 0; c < 6; ++c) chains[c] = V::Set1(static_cast<float>(c));
  const typename V::F factor = V::Set1(0.999f);
  const typename V::F summand = V::Set1(0.001f);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 6
    for (int c = 0; c < 6; ++c) chains[c] = V::MulAdd(chains[c], factor, summand);
  }
  float sum = 0;
  for (int c = 0; c < 6; ++c) sum += V::ReduceAdd(chains[c]);
  return sum;
}

}  // namespace r1::kernels
