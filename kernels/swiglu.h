// First half of a SwiGLU MLP (2002.05202): Y[M, I] = silu(X · gate^T) * (X · up^T), in one pass
// over X; a bias may be added to both products.
//
// Rounding: fp32; both products and biases as in matmul.h, silu(x) = x / (1 + e^-x) with the
// kernels' own e^x (error < 1 ulp).
#pragma once

#include <cstdint>

#include "kernels/panels.h"

namespace r1::kernels {

// Gate and up panels of 16 columns in turn: [ceil(I / 16)][gate, up][K][16], padded with zeros.
struct PackedGateUp {
  Panels panels;
  int intermediate = 0;  // I
  int k = 0;
};

// Weights that PackGateUp writes.
int64_t PackedGateUpFloats(int intermediate, int k);
// gate and up are [intermediate, k], contiguous.
void PackGateUp(const float* gate, const float* up, int intermediate, int k, float* panels);

struct SwigluArgs {
  const float* x = nullptr;  // [*, K]
  int64_t x_stride = 0;
  const int32_t* rows = nullptr;  // row of x for each row of y; null: 0, 1, 2, …
  PackedGateUp w;
  const float* gate_bias = nullptr;  // [I], or none
  const float* up_bias = nullptr;    // likewise
  float* y = nullptr;                // [M, I]; does not overlap x
  int64_t y_stride = 0;
  int m = 0;
  Panels next = {};  // as in MatmulArgs
};

void SwigluReference(const SwigluArgs& args);
void SwigluFp32Avx2(const SwigluArgs& args);
void SwigluFp32Avx512(const SwigluArgs& args);
void SwigluBf16Avx512(const SwigluArgs& args);
void SwigluBf16Amx(const SwigluArgs& args);

}  // namespace r1::kernels
