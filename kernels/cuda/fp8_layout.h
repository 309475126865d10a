// Layout and numbers of FP8 weight matrices for the sm_90a kernels. A weight is an E4M3 number
// times the scale of its block of 128 rows and 128 columns (2412.19437 §3.3.2): the product,
// rounded to bf16, is what the tensor cores get. Scales are bf16.
//
// A matrix [rows, columns] is cut into tiles of 64 rows and 64 columns. A tile is in one
// piece: 4096 weights in the order in which the threads of a warpgroup hold the first operand of a
// product, 16 of each thread side by side, then the scales of its rows 0 … 7 and 8 … 15 of every 16
// (gate and up where they alternate, otherwise equal), then nothing up to the next 128 bytes, where
// copies are 3 % faster than from the next 16. The two tiles of a block of 128 rows follow
// each other, then come the next columns, as in packed_layout.h. Plain arithmetic, so that tests
// without a GPU check it.
#pragma once

#include <cstdint>

#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {

inline constexpr int kFp8ScaleBlock = 128;  // rows and columns that share a scale
inline constexpr int kFp8TileRows = 64;
inline constexpr int kFp8TileColumns = 64;
inline constexpr int kFp8TileWeights = kFp8TileRows * kFp8TileColumns;
inline constexpr int kFp8TileBytes = kFp8TileWeights + 128;
inline constexpr float kFp8Max = 448;  // the largest E4M3 number
// An E4M3 number's bits are those of a bf16 that is smaller by this power of two, but for their
// place. Scales are kept multiplied by it.
inline constexpr int kFp8ExponentShift = 120;
// Limits of a scale, so that this stays finite. Larger weights saturate.
inline constexpr float kFp8ScaleMin = 0x1p-100f;
inline constexpr float kFp8ScaleMax = 0x1p7f;

static_assert(kFp8TileColumns == kPackedBlockColumns);

// Bytes of a packed matrix; rows beyond the last one are zero.
R1_HOST_DEVICE constexpr int64_t Fp8PackedBytes(int rows, int columns) {
  const int64_t row_blocks = DivideUp(rows, kPackedBlockRows);
  return row_blocks * (columns / kFp8TileColumns) * 2 * kFp8TileBytes;
}

// Byte offset of the tile that holds the packed row `row` of the column block `column_block`.
R1_HOST_DEVICE constexpr int64_t Fp8TileOffset(int row, int column_block, int columns) {
  const int64_t block =
      int64_t{row / kPackedBlockRows} * (columns / kFp8TileColumns) + column_block;
  return (block * 2 + row % kPackedBlockRows / kFp8TileRows) * kFp8TileBytes;
}

// Byte offset of a weight in its tile. Bytes 1 and 3 of a 32-bit word are two neighbours of a row,
// 0 and 2 those eight rows below: so two operations on the word part them (SpreadFp8 in
// fp8_sm90.cuh).
R1_HOST_DEVICE constexpr int Fp8OffsetInTile(int row, int column) {
  const int thread = row / 16 * 2 * 32 + column / 32 * 32 + row % 8 * 4 + column % 8 / 2;
  const int word = column % 32 / 8;
  const bool low_row = row % 16 >= 8;
  return thread * 16 + word * 4 + column % 2 * 2 + (low_row ? 0 : 1);
}

}  // namespace r1::kernels
