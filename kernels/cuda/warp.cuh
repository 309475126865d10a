// Reductions and prefix sums over the 32 lanes of a warp. All lanes take part.
#pragma once

namespace r1::kernels {

// Sum of the lanes before this one; *total gets the sum of all.
__device__ __forceinline__ int WarpPrefix(int value, int* total) {
  int sum = value;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(~0u, sum, distance);
    if (static_cast<int>(threadIdx.x % 32) >= distance) sum += below;
  }
  *total = __shfl_sync(~0u, sum, 31);
  return sum - value;
}

__device__ __forceinline__ float WarpMax(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
  }
  return value;
}

template <typename T>
__device__ __forceinline__ T WarpSum(T value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

}  // namespace r1::kernels
