// The plainest possible GPU versions of the operators, in double precision, one warp an output: the
// truth for shapes that are too large for the CPU oracles. Tests check them against the oracles on
// small shapes.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "kernels/cuda/moe_experts_bf16_sm90.h"

namespace r1::kernels {

// out[m, n] = sum over k of x[m, k] * w[n, k].
void NaiveMatmul(const __nv_bfloat16* x, const __nv_bfloat16* w, int m, int n, int k, double* out);

// Weights are [E + S][I, D] and [E + S][D, I], not packed; args.gate_up, down, out and workspace
// are not used.
struct NaiveExpertWeights {
  const __nv_bfloat16* gate;
  const __nv_bfloat16* up;
  const __nv_bfloat16* down;
};
void NaiveMoeExperts(const MoeExpertsBf16Args& args, const NaiveExpertWeights& weights,
                     double* out);

// What PackFp8Sm90 made of `matrices` matrices [rows, columns], as bf16 weights: from the layout's
// definition, an element at a time.
void NaiveUnpackFp8(const uint8_t* packed, int matrices, int rows, int columns,
                    PackedRows packed_rows, __nv_bfloat16* weights);

// Attention over a cache that is not packed: rows [blocks * 64, 576]. out is [B, H, 512]; prefixes
// play no part.
void NaiveMlaDecode(const MlaDecodeBf16Args& args, const __nv_bfloat16* rows, double* out);

// rows [blocks * 64, 576] -> packed blocks.
void PackCache(const __nv_bfloat16* rows, int blocks, uint8_t* packed);

}  // namespace r1::kernels
