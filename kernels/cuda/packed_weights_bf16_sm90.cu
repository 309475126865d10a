// Packing of weight matrices, one thread a 16-byte piece of the result. Runs once a policy version,
// at memory speed.
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

cudaError_t RoundToBf16Sm90(const float* floats, int64_t count, __nv_bfloat16* bf16,
                            cudaStream_t stream) {
  RoundToBf16Kernel<<<BlocksOf(count), kThreads, 0, stream>>>(floats, count, bf16);
  return cudaGetLastError();
}

}  // namespace r1::kernels
