// A tile of a dense product and where its sums go: what the kernels of dense_bf16_sm90.h share.
#pragma once

#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/dense_tiling.h"
#include "kernels/cuda/weight_stream_sm90.cuh"

namespace r1::kernels {

// What a block computes of a tile.
struct DenseTile {
  int matrix;
  int part;  // of the columns: blocks [block_begin, block_begin + blocks)
  int block_begin;
  int blocks;
  int row_begin;
  int rows;  // may be 0 in a cluster's second block
  int token_begin;
  int tokens;
};

// Tiles first, first + step, …; token tiles fastest, so that blocks that run at the same time share
// weights. Of a cluster of kBlocks, even and odd blocks take half of a tile's rows each, and blocks
// 2 and 3 the next token tile.
template <int kBlocks = 1>
class DenseCursor {
 public:
  __device__ DenseCursor(const DenseBf16Args& call, const DenseTiling& tiling)
      : call_(call), tiling_(tiling), next_(blockIdx.x / kBlocks) {}

  __device__ bool Next(DenseTile* tile) {
    if (next_ >= tiling_.tiles(call_.matrices)) return false;
    const int column_blocks = call_.columns / kPackedBlockColumns;
    tile->part = next_ / tiling_.token_tiles % tiling_.column_parts;
    tile->block_begin = tile->part * column_blocks / tiling_.column_parts;
    tile->blocks = (tile->part + 1) * column_blocks / tiling_.column_parts - tile->block_begin;
    const int row_tile = next_ / (tiling_.token_tiles * tiling_.column_parts);
    tile->matrix = row_tile / tiling_.row_tiles;
    const int rows = tiling_.tile_rows / kRowBlocks;
    tile->row_begin = row_tile % tiling_.row_tiles * tiling_.tile_rows;
    tile->token_begin = next_ % tiling_.token_tiles * kTokenBlocks * tiling_.tile_tokens;
    if constexpr (kBlocks > 1) {
      const int rank = static_cast<int>(sm90::ClusterRank());
      tile->row_begin += rank % 2 * rows;
      tile->token_begin += rank / 2 * tiling_.tile_tokens;
    }
    const int rows_left = call_.rows - tile->row_begin;
    tile->rows = rows_left < 0 ? 0 : rows_left < rows ? rows_left : rows;
    const int tokens_left = call_.tokens - tile->token_begin;
    tile->tokens = tokens_left < tiling_.tile_tokens ? tokens_left : tiling_.tile_tokens;
    next_ += static_cast<int>(gridDim.x) / kBlocks;
    return true;
  }

 private:
  static constexpr int kRowBlocks = kBlocks > 1 ? 2 : 1;
  static constexpr int kTokenBlocks = kBlocks == 4 ? 2 : 1;

  const DenseBf16Args& call_;
  const DenseTiling& tiling_;
  int next_;
};

// Sums of 64 rows a row tile to y, rounded; or 32 results of silu(gate) * up.
template <typename Kind, int kN>
__device__ __forceinline__ void StoreTile(const DenseBf16Args& call, const DenseTile& tile,
                                          int warpgroup,
                                          const float (&sums)[Kind::kRowTiles][kN / 2]) {
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  __nv_bfloat16* const first_row =
      call.y + (tile.token_begin + lane / 4) * call.y_stride + tile.matrix * call.y_matrix_stride;
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
    const int row = Kind::RowTile(r, warpgroup) * 64 + warp * 16;  // of the tile
    const int column = call.swiglu ? (tile.row_begin + row) / 2 : tile.row_begin + row;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const float* const sum = &sums[r][4 * j];
      const bool stores = 8 * j + lane / 4 < tile.tokens;
      auto* const target =
          reinterpret_cast<uint32_t*>(first_row + 8 * j * call.y_stride + column + lane % 4 * 2);
      if (call.swiglu) {
        const uint32_t pair = sm90::TransposeFragment(
            sm90::PackBf16(sm90::Silu(sum[0]) * sum[2], sm90::Silu(sum[1]) * sum[3]));
        if (stores && row < tile.rows) target[0] = pair;
      } else {
        const uint32_t low = sm90::TransposeFragment(sm90::PackBf16(sum[0], sum[1]));
        const uint32_t high = sm90::TransposeFragment(sm90::PackBf16(sum[2], sum[3]));
        if (stores && row < tile.rows) target[0] = low;
        if (stores && row + 8 < tile.rows) target[4] = high;
      }
    }
  }
}

// Sums of 64 rows a row tile, as they are.
template <typename Kind, int kN>
__device__ __forceinline__ void StoreSums(const DenseBf16Args& call, const DenseTile& tile,
                                          int warpgroup,
                                          const float (&sums)[Kind::kRowTiles][kN / 2]) {
  const int lane = threadIdx.x % 32;
  float* const part = call.sums + int64_t{tile.part} * call.tokens * call.rows + tile.row_begin;
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
    const int first_row =
        Kind::RowTile(r, warpgroup) * 64 + static_cast<int>(threadIdx.x) / 32 % 4 * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) {
      const int row = first_row + i / 2 % 2 * 8;
      const int token = i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (row < tile.rows && token < tile.tokens)
        part[int64_t{tile.token_begin + token} * call.rows + row] = sums[r][i];
    }
  }
}

}  // namespace r1::kernels
