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

cudaError_t Launch(const PackArgs& args, int matrices, cudaStream_t stream) {
  if (args.columns % kPackedBlockColumns != 0) return cudaErrorInvalidValue;
  const int64_t pieces = args.packed_bytes / 16;
  const dim3 grid(static_cast<unsigned>((pieces + kThreads - 1) / kThreads),
                  static_cast<unsigned>(matrices));
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

}  // namespace r1::kernels
