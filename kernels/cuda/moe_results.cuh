// Adds a token's MoeResults up.
#pragma once

#include "kernels/cuda/moe_results.h"

namespace r1::kernels {

// sums[i] += the weighted results of the channel column + i, in the order of the slots. A row has
// `hidden` channels.
__device__ __forceinline__ void AddResults(const MoeResults& moe, int token, int column, int hidden,
                                           float (&sums)[8]) {
  constexpr int kAtOnce = 8;  // under way
  const int slots = moe.active + moe.shared;
  const int* const places = moe.places + token * slots;
  const float* const weights = moe.weights + int64_t{token} * moe.active;
  for (int first = 0; first < slots; first += kAtOnce) {
    uint4 results[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i >= slots) continue;
      const __nv_bfloat16* const result =
          moe.results + int64_t{places[first + i]} * hidden + column;
      results[i] = __ldcg(reinterpret_cast<const uint4*>(result));
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i >= slots) continue;
      const float weight = first + i < moe.active ? weights[first + i] : 1.0f;
      const auto* const pairs = reinterpret_cast<const __nv_bfloat162*>(&results[i]);
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float2 pair = __bfloat1622float2(pairs[c]);
        sums[2 * c] = fmaf(weight, pair.x, sums[2 * c]);
        sums[2 * c + 1] = fmaf(weight, pair.y, sums[2 * c + 1]);
      }
    }
  }
}

}  // namespace r1::kernels
