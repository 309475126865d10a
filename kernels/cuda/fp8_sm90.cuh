// FP8 weights on their way from shared memory to the tensor cores.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/fp8_layout.h"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels::sm90 {

// Bytes 1 and 3 of `word`, E4M3 numbers, as bf16 that are smaller by 2^kFp8ExponentShift.
__device__ __forceinline__ uint32_t SpreadFp8(uint32_t word) {
  return (word & 0x80008000u) | (word >> 4 & 0x07F007F0u);
}

// Products of two pairs of bf16, rounded.
__device__ __forceinline__ uint32_t ScalePair(uint32_t pair, uint32_t scales) {
  const __nv_bfloat162 scaled = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&pair),
                                        *reinterpret_cast<const __nv_bfloat162*>(&scales));
  return *reinterpret_cast<const uint32_t*>(&scaled);
}

// This thread's part of a tile in shared memory: 32 columns in 16 bytes, and the scales of its two
// rows.
struct Fp8Part {
  uint4 words[2];
  uint32_t scales;
};

__device__ __forceinline__ Fp8Part LoadFp8Part(uint32_t tile) {
  const uint32_t thread = threadIdx.x % 128;
  const uint32_t source = tile + (thread / 32 * 64 + thread % 32) * 16;
  return {.words = {LoadShared16(source), LoadShared16(source + 32 * 16)},
          .scales = LoadShared4(tile + kFp8TileWeights)};
}

// 32 columns, half = 0 or 1 of the part's, in two steps of 16 as the first operand of
// WgmmaOfRegisters.
__device__ __forceinline__ void ConvertFp8(const Fp8Part& part, int half,
                                           uint32_t (&fragments)[2][4]) {
  const uint4& words = part.words[half];
  const uint32_t upper = __byte_perm(part.scales, 0, 0x1010);
  const uint32_t lower = __byte_perm(part.scales, 0, 0x3232);
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const uint32_t left = k == 0 ? words.x : words.z;
    const uint32_t right = k == 0 ? words.y : words.w;
    fragments[k][0] = ScalePair(SpreadFp8(left), upper);
    fragments[k][1] = ScalePair(SpreadFp8(left << 8), lower);
    fragments[k][2] = ScalePair(SpreadFp8(right), upper);
    fragments[k][3] = ScalePair(SpreadFp8(right << 8), lower);
  }
}

}  // namespace r1::kernels::sm90
