// Layout of bf16 weight matrices for the sm_90a kernels. A matrix [rows, columns] is cut into
// blocks of 128 rows and 64 columns; a block is 16 KiB in one piece, row after row of 128 bytes,
// with the eight 16-byte pieces of row r permuted by r modulo 8. So one bulk copy brings a block,
// or any run of 8 rows of it, from memory to shared memory in the very order that the tensor cores
// read without bank conflicts, and the blocks of one row range follow each other: a kernel reads
// weights as long streams and needs no tensor map.
//
// Blocks are ordered by row, then by column. Rows beyond the last one are zero.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/fp8_layout.h"
#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {

// weights [matrices][rows, columns] -> packed [matrices][PackedBytes]; columns a multiple of 64.
[[nodiscard]] cudaError_t PackRowsBf16Sm90(const __nv_bfloat16* weights, int matrices, int rows,
                                           int columns, uint8_t* packed, cudaStream_t stream);

// gate and up [matrices][intermediate, columns] -> packed [matrices] of 2 * intermediate rows,
// eight rows of gate and eight of up in turn (PackedGateRow, PackedUpRow), so that one thread ends
// up with a gate and its up. intermediate is a multiple of 8.
[[nodiscard]] cudaError_t PackGateUpBf16Sm90(const __nv_bfloat16* gate, const __nv_bfloat16* up,
                                             int matrices, int intermediate, int columns,
                                             uint8_t* packed, cudaStream_t stream);

// Matrices that are parts of others, or transposed: row r, column c of matrix m is
// data[m * matrix_stride + r * row_stride + c * column_stride].
struct StridedMatrices {
  const __nv_bfloat16* data = nullptr;
  int64_t matrix_stride = 0;
  int64_t row_stride = 0;
  int64_t column_stride = 1;
};
[[nodiscard]] cudaError_t PackStridedBf16Sm90(const StridedMatrices& weights, int matrices,
                                              int rows, int columns, uint8_t* packed,
                                              cudaStream_t stream);

// weights -> FP8 in the layout of fp8_layout.h, packed [matrices][Fp8PackedBytes(packed rows,
// columns)], packed rows being twice `rows` for kGate and kUp. A block's scale is its largest
// weight's absolute value / 448, rounded up to bf16. column_stride is 1, columns and, for kGate and
// kUp, rows are multiples of 64. Rows that no matrix has are not written.
[[nodiscard]] cudaError_t PackFp8Sm90(const StridedMatrices& weights, int matrices, int rows,
                                      int columns, PackedRows packed_rows, uint8_t* packed,
                                      cudaStream_t stream);

// bf16[i] = floats[i], rounded to nearest.
[[nodiscard]] cudaError_t RoundToBf16Sm90(const float* floats, int64_t count, __nv_bfloat16* bf16,
                                          cudaStream_t stream);

}  // namespace r1::kernels
