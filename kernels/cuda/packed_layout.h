// Where an element of a matrix lies in the packed layout that packed_weights.h describes. Plain
// arithmetic, so that tests without a GPU check it and CPU code can read packed weights.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define R1_HOST_DEVICE __host__ __device__
#else
#define R1_HOST_DEVICE
#endif

namespace r1::kernels {

R1_HOST_DEVICE constexpr int DivideUp(int a, int b) { return (a + b - 1) / b; }

inline constexpr int kPackedBlockRows = 128;
inline constexpr int kPackedBlockColumns = 64;
inline constexpr int kPackedRowBytes = 2 * kPackedBlockColumns;
inline constexpr int kPackedBlockBytes = kPackedBlockRows * kPackedRowBytes;

// Bytes of a packed matrix.
R1_HOST_DEVICE constexpr int64_t PackedBytes(int rows, int columns) {
  const int64_t row_blocks = (rows + kPackedBlockRows - 1) / kPackedBlockRows;
  return row_blocks * (columns / kPackedBlockColumns) * kPackedBlockBytes;
}

// Byte offset of `row`'s run of 128 bytes in the column block `column_block`.
R1_HOST_DEVICE constexpr int64_t PackedRowOffset(int row, int column_block, int columns) {
  const int64_t block =
      int64_t{row / kPackedBlockRows} * (columns / kPackedBlockColumns) + column_block;
  return block * kPackedBlockBytes + row % kPackedBlockRows * kPackedRowBytes;
}

// Place of a row's 16-byte piece (8 elements) inside its run of 128 bytes.
R1_HOST_DEVICE constexpr int SwizzledPiece(int row, int piece) { return piece ^ row % 8; }

// Byte offset of an element.
R1_HOST_DEVICE constexpr int64_t PackedOffset(int row, int column, int columns) {
  const int piece = column % kPackedBlockColumns / 8;
  return PackedRowOffset(row, column / kPackedBlockColumns, columns) +
         SwizzledPiece(row, piece) * 16 + column % 8 * 2;
}

// Packed row of row i of gate and of up.
R1_HOST_DEVICE constexpr int PackedGateRow(int i) { return i / 8 * 16 + i % 8; }
R1_HOST_DEVICE constexpr int PackedUpRow(int i) { return PackedGateRow(i) + 8; }

// Which rows of a packed matrix the rows of a matrix become.
enum class PackedRows { kAll, kGate, kUp };
R1_HOST_DEVICE constexpr int PackedRow(PackedRows rows, int i) {
  if (rows == PackedRows::kAll) return i;
  return rows == PackedRows::kGate ? PackedGateRow(i) : PackedUpRow(i);
}

}  // namespace r1::kernels
