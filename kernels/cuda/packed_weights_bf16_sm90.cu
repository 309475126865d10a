// Packing of weight matrices, one thread a 16-byte piece of the result. Runs once a policy version,
// at memory speed.
#include <cuda_fp8.h>

#include "kernels/cuda/packed_weights.h"

namespace r1::kernels {
namespace {

constexpr int kThreads = 256;

struct PackArgs {
  const __nv_bfloat16* first;   // the rows themselves, or gate
  const __nv_bfloat16* second;  // up; null when there is nothing to interleave
  uint8_t* packed;
  int rows;  // of one packed matrix
  int columns;
  int64_t packed_bytes;  // of one packed matrix
};

__global__ void __launch_bounds__(kThreads) PackKernel(PackArgs args) {
  const int64_t piece = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (piece * 16 >= args.packed_bytes) return;
  const int matrix = blockIdx.y;
  const int column_blocks = args.columns / kPackedBlockColumns;
  const int64_t block = piece / (kPackedBlockBytes / 16);
  const int row_in_block = static_cast<int>(piece % (kPackedBlockBytes / 16) / 8);
  const int row = static_cast<int>(block / column_blocks) * kPackedBlockRows + row_in_block;
  // The permutation is its own inverse.
  const int column = static_cast<int>(block % column_blocks) * kPackedBlockColumns +
                     SwizzledPiece(row, static_cast<int>(piece % 8)) * 8;
  uint4 value = make_uint4(0, 0, 0, 0);
  if (row < args.rows) {
    const __nv_bfloat16* source = args.first;
    int source_row = row;
    int source_rows = args.rows;
    if (args.second != nullptr) {
      source = row % 16 < 8 ? args.first : args.second;
      source_row = row / 16 * 8 + row % 8;
      source_rows = args.rows / 2;
    }
    source += (int64_t{matrix} * source_rows + source_row) * args.columns + column;
    value = __ldg(reinterpret_cast<const uint4*>(source));
  }
  reinterpret_cast<uint4*>(args.packed + matrix * args.packed_bytes)[piece] = value;
}

struct PackStridedArgs {
  StridedMatrices weights;
  uint8_t* packed;
  int rows;
  int columns;
  int64_t packed_bytes;  // of one packed matrix
};

// One thread an element.
__global__ void __launch_bounds__(kThreads) PackStridedKernel(PackStridedArgs args) {
  const int64_t element = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int row = static_cast<int>(element / args.columns);
  const int column = static_cast<int>(element % args.columns);
  if (row * int64_t{args.columns} * 2 >= args.packed_bytes) return;
  __nv_bfloat16 value = __ushort_as_bfloat16(0);
  if (row < args.rows) {
    value = args.weights.data[blockIdx.y * args.weights.matrix_stride +
                              row * args.weights.row_stride + column * args.weights.column_stride];
  }
  *reinterpret_cast<__nv_bfloat16*>(args.packed + blockIdx.y * args.packed_bytes +
                                    PackedOffset(row, column, args.columns)) = value;
}

struct PackFp8Args {
  StridedMatrices weights;
  uint8_t* packed;
  int rows;
  int columns;
  PackedRows packed_rows;
  int64_t packed_bytes;  // of one packed matrix
};

// max / 448, rounded up to bf16.
__device__ float Fp8Scale(float max) {
  const uint32_t bits = __float_as_uint(max / kFp8Max) + 0xFFFF & 0xFFFF0000;
  return fminf(fmaxf(__uint_as_float(bits), kFp8ScaleMin), kFp8ScaleMax);
}

// One block of threads a scale: a block of columns (x), of rows (y), of a matrix (z).
__global__ void __launch_bounds__(kThreads) PackFp8Kernel(PackFp8Args args) {
  const int first_column = blockIdx.x * kFp8ScaleBlock;
  const int first_row = blockIdx.y * kFp8ScaleBlock;
  const int columns = min(kFp8ScaleBlock, args.columns - first_column);
  const int rows = min(kFp8ScaleBlock, args.rows - first_row);
  const __nv_bfloat16* const weights = args.weights.data + blockIdx.z * args.weights.matrix_stride +
                                       first_row * args.weights.row_stride + first_column;
  const auto weight = [&](int i) {
    return __bfloat162float(weights[i / columns * args.weights.row_stride + i % columns]);
  };
  float max = 0;
  for (int i = threadIdx.x; i < rows * columns; i += kThreads) max = fmaxf(max, fabsf(weight(i)));
  __shared__ unsigned shared_max;
  if (threadIdx.x == 0) shared_max = 0;
  __syncthreads();
  // Bits of numbers that are not negative are ordered as they are.
  atomicMax(&shared_max, __float_as_uint(max));
  __syncthreads();
  const float scale = Fp8Scale(__uint_as_float(shared_max));
  for (int i = threadIdx.x; i < rows * columns; i += kThreads) {
    const int row = PackedRow(args.packed_rows, first_row + i / columns);
    const int column = first_column + i % columns;
    uint8_t* const tile = args.packed + blockIdx.z * args.packed_bytes +
                          Fp8TileOffset(row, column / kFp8TileColumns, args.columns);
    tile[Fp8OffsetInTile(row % kFp8TileRows, column % kFp8TileColumns)] =
        __nv_cvt_float_to_fp8(weight(i) / scale, __NV_SATFINITE, __NV_E4M3);
    if (column % kFp8TileColumns == 0) {
      const __nv_bfloat16 shifted = __float2bfloat16_rn(ldexpf(scale, kFp8ExponentShift));
      auto* const scales = reinterpret_cast<__nv_bfloat16*>(tile + kFp8TileWeights);
      scales[row % 16 / 8] = shifted;
      // The last rows may lack the others of their 16.
      if (args.packed_rows == PackedRows::kAll) scales[1 - row % 16 / 8] = shifted;
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    RoundToBf16Kernel(const float* floats, int64_t count, __nv_bfloat16* bf16) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) bf16[i] = __float2bfloat16_rn(floats[i]);
}

unsigned BlocksOf(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

cudaError_t Launch(const PackArgs& args, int matrices, cudaStream_t stream) {
  if (args.columns % kPackedBlockColumns != 0) return cudaErrorInvalidValue;
  const dim3 grid(BlocksOf(args.packed_bytes / 16), static_cast<unsigned>(matrices));
  PackKernel<<<grid, kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace

cudaError_t PackRowsBf16Sm90(const __nv_bfloat16* weights, int matrices, int rows, int columns,
                             uint8_t* packed, cudaStream_t stream) {
  return Launch({.first = weights,
                 .second = nullptr,
                 .packed = packed,
                 .rows = rows,
                 .columns = columns,
                 .packed_bytes = PackedBytes(rows, columns)},
                matrices, stream);
}

cudaError_t PackGateUpBf16Sm90(const __nv_bfloat16* gate, const __nv_bfloat16* up, int matrices,
                               int intermediate, int columns, uint8_t* packed,
                               cudaStream_t stream) {
  if (intermediate % 8 != 0) return cudaErrorInvalidValue;
  return Launch({.first = gate,
                 .second = up,
                 .packed = packed,
                 .rows = 2 * intermediate,
                 .columns = columns,
                 .packed_bytes = PackedBytes(2 * intermediate, columns)},
                matrices, stream);
}

cudaError_t PackStridedBf16Sm90(const StridedMatrices& weights, int matrices, int rows, int columns,
                                uint8_t* packed, cudaStream_t stream) {
  if (columns % kPackedBlockColumns != 0) return cudaErrorInvalidValue;
  const PackStridedArgs args = {.weights = weights,
                                .packed = packed,
                                .rows = rows,
                                .columns = columns,
                                .packed_bytes = PackedBytes(rows, columns)};
  const dim3 grid(BlocksOf(args.packed_bytes / 2), static_cast<unsigned>(matrices));
  PackStridedKernel<<<grid, kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t PackFp8Sm90(const StridedMatrices& weights, int matrices, int rows, int columns,
                        PackedRows packed_rows, uint8_t* packed, cudaStream_t stream) {
  const bool interleaved = packed_rows != PackedRows::kAll;
  if (columns % kFp8TileColumns != 0 || weights.column_stride != 1) return cudaErrorInvalidValue;
  if (interleaved && rows % kFp8TileRows != 0) return cudaErrorInvalidValue;
  const PackFp8Args args = {.weights = weights,
                            .packed = packed,
                            .rows = rows,
                            .columns = columns,
                            .packed_rows = packed_rows,
                            .packed_bytes = Fp8PackedBytes(interleaved ? 2 * rows : rows, columns)};
  const dim3 grid(static_cast<unsigned>(DivideUp(columns, kFp8ScaleBlock)),
                  static_cast<unsigned>(DivideUp(rows, kFp8ScaleBlock)),
                  static_cast<unsigned>(matrices));
  PackFp8Kernel<<<grid, kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t RoundToBf16Sm90(const float* floats, int64_t count, __nv_bfloat16* bf16,
                            cudaStream_t stream) {
  RoundToBf16Kernel<<<BlocksOf(count), kThreads, 0, stream>>>(floats, count, bf16);
  return cudaGetLastError();
}

}  // namespace r1::kernels
