// Products of the rows of a batch with packed weight matrices on Hopper: one matrix, or one for
// each head of an attention layer. With few tokens memory sets the pace: matrices are cut into as
// many tiles as there are multiprocessors, and their first columns are on the way before the kernel
// that makes x has ended.
//
//   y[t, m, n] = sum over k of x[t, m, k] * w[m, n, k]
//   y[t, m, i] = silu(gate) * up of the sums of gate's and up's rows i, with swiglu
//
// Rounding: bf16 in and out, fp32 sums over columns in steps of 16, in order. A row's bits depend
// neither on the other rows nor on their number. A product of few rows and many columns may be cut
// into sums of parts of the columns, which keeps all multiprocessors busy; the cut is for whoever
// calls to choose, by the matrix alone (DenseBf16ColumnParts).
//
// Shape letters: T tokens, M matrices, N rows of a matrix, K columns, S parts of the columns.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/packed_weights.h"

namespace r1::kernels {

struct DenseBf16Args {
  int tokens = 0;       // T >= 1
  int matrices = 1;     // M
  int rows = 0;         // N of each, a multiple of 8; with swiglu gate and up together, of 16
  int columns = 0;      // K, a multiple of 64
  bool swiglu = false;  // weights are packed by PackGateUpBf16Sm90; y has N / 2 columns
  // Row t for matrix m begins at x + t * x_stride + m * x_matrix_stride; multiples of 8.
  const __nv_bfloat16* x = nullptr;
  int64_t x_stride = 0;
  int64_t x_matrix_stride = 0;
  const uint8_t* weights = nullptr;  // [M] packed by PackRowsBf16Sm90 (N rows, K columns)
  __nv_bfloat16* y = nullptr;        // likewise
  int64_t y_stride = 0;
  int64_t y_matrix_stride = 0;
  // In several parts of the columns, results go to `sums` instead, unrounded and not yet added up.
  // Only for one matrix, without swiglu.
  int column_parts = 1;   // S, at most K / 64
  float* sums = nullptr;  // [S][T, N]
  // The next kernel starts when x is complete instead of at once: for one that needs what x is part
  // of, but not y, and runs beside this kernel (MlaInputBf16Args::beside).
  bool next_starts_with_x = false;
};

// Parts that are worth it for a matrix of so many rows and columns.
int DenseBf16ColumnParts(int rows, int columns);

// cudaErrorInvalidValue for sizes or strides outside the limits above.
[[nodiscard]] cudaError_t DenseBf16Sm90(const DenseBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
