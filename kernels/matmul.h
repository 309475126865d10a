// Matrix product with packed weights: Y[M, N] = X[M, K] · W[N, K]^T + bias[N], or Y += that.
//
// Rounding: fp32; each element is one chain of fused multiply-adds over ascending k from zero, then
// one addition of the bias, then (accumulate) one to y. So its bits depend neither on M, nor on its
// place in the batch, nor on how work is split. The reference rounds product and sum apart.
//
// In pairs (kAvx512Bf16 with bf16 panels): x is rounded to bf16, to nearest even; the chain takes
// of each pair the odd k first, then the even one; denormal operands, sums and numbers of x count
// as zero. That is what Intel's Software Developer's Manual (volume 2) says of vdpbf16ps, and what
// AMD's processors do. Everything else is as above, for any M.
//
// In tiles (kAmxBf16 with bf16 panels and K a multiple of 32; other K in pairs): x is rounded
// likewise; of 32 numbers in k at a time the even ones are one chain from zero and the odd ones
// another, and even + odd is added to the sum; without denormals, again. The manual's tdpbf16ps.
#pragma once

#include <cstdint>

#include "kernels/panels.h"

namespace r1::kernels {

inline constexpr int kPanelColumns = 16;
inline constexpr int kInputsMax = 1 << 17;  // K of a product in pairs
inline constexpr int kTileDepth = 32;       // numbers in k of one addition to a sum in tiles

// Weights in panels of 16 output columns: [ceil(N / 16)][K][16], padded with zeros, so that a
// register load holds 16 neighbouring columns of one k.
struct PackedMatrix {
  Panels panels;
  int n = 0;
  int k = 0;
};

// Weights that PackMatrix writes.
int64_t PackedFloats(int n, int k);
// w is [n, k], rows `stride` apart.
void PackMatrix(const float* w, int64_t stride, int n, int k, float* panels);
// `weights` of panels as bf16, rounded to nearest even; two neighbours in k side by side.
void RoundPanels(const float* panels, int64_t weights, Bf16* rounded);

struct MatmulArgs {
  const float* x = nullptr;  // [*, K]
  int64_t x_stride = 0;
  const int32_t* rows = nullptr;  // row of x for each row of y; null: 0, 1, 2, …
  PackedMatrix w;
  const float* bias = nullptr;  // [N], or none
  float* y = nullptr;           // [M, N]; does not overlap x
  int64_t y_stride = 0;
  int m = 0;
  bool accumulate = false;
  Panels next = {};  // what the caller multiplies by next, to be fetched early; or none
};

void MatmulReference(const MatmulArgs& args);
void MatmulFp32Avx2(const MatmulArgs& args);
void MatmulFp32Avx512(const MatmulArgs& args);
// In pairs, and in tiles.
void MatmulBf16Reference(const MatmulArgs& args);
void MatmulBf16TilesReference(const MatmulArgs& args);
void MatmulBf16Avx512(const MatmulArgs& args);
void MatmulBf16Amx(const MatmulArgs& args);

}  // namespace r1::kernels
