// Descriptions of matrices for the copy engine (CUDA driver API, section 6.30), made on the host
// and handed to a kernel as a __grid_constant__ argument.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace r1::kernels {

// A row-major bf16 matrix [rows, columns], rows `stride` elements apart (a multiple of 8), read in
// boxes of `box_rows` rows (at most 256) and 64 columns that land in shared memory as
// sm90::TileDescriptor wants them. cudaErrorInvalidValue for what the copy engine cannot read.
[[nodiscard]] cudaError_t MakeTensorMap(const __nv_bfloat16* matrix, int rows, int columns,
                                        int64_t stride, int box_rows, CUtensorMap* map);

// The same matrix written in boxes of 8 rows and `box_columns` columns, 64 or 32, whose rows of 128
// or 64 bytes lie in shared memory with their 16-byte pieces permuted by the row, or by half of it.
[[nodiscard]] cudaError_t MakeStoreMap(__nv_bfloat16* matrix, int rows, int columns, int64_t stride,
                                       int box_columns, CUtensorMap* map);

}  // namespace r1::kernels
