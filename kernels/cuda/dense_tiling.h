// How a dense product is cut into tiles: by shape, number of tokens and multiprocessors, for the
// least time by a simple model. Tiles never share a sum, so the cut moves no bit. Plain arithmetic,
// tested on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {

inline constexpr int kDenseTileTokensMax = 128;
inline constexpr int kDenseTileRowsMax = 128;
// Of a tile that two blocks share, each with half of its rows (dense_wide_bf16_sm90.h).
inline constexpr int kDenseWideTileRows = 256;
inline constexpr int kDenseWideTileTokensMax = 256;

struct DenseTiling {
  int tile_rows;    // a multiple of 8 up to 64, or 128; or kDenseWideTileRows
  int tile_tokens;  // a multiple of 8
  int row_tiles;    // of a matrix
  int token_tiles;
  int column_parts;

  bool is_wide() const { return tile_rows == kDenseWideTileRows; }
  // Tokens that a wide tile's products are made for.
  int wide_width() const { return (tile_tokens + 63) / 64 * 64; }

  R1_HOST_DEVICE int tiles(int matrices) const {
    return matrices * row_tiles * token_tiles * column_parts;
  }
};

struct DenseTilingArgs {
  int tokens;
  int matrices;
  int rows;
  int columns;
  int column_parts = 1;
  int row_step;  // tile_rows is a multiple of it; divides 64
  bool can_be_wide = false;
  int multiprocessors;
};

// Cycles that a product takes in tiles.
inline int64_t DenseCycles(const DenseTilingArgs& args, const DenseTiling& tiling) {
  // What a multiprocessor can take in from L2 in a cycle, alone and when all of them do; 64 by 128
  // products of 64 columns keep its tensor cores busy for 256 cycles; the products of a block of
  // columns take at least 100, a tile's beginning and end about 1,000, or 3,000 where they are not
  // hidden behind another tile's products.
  constexpr int kBytesAlone = 45;
  constexpr int kBytesTogether = 36;
  const auto divide_up = [](int a, int b) { return (a + b - 1) / b; };
  // Two blocks share the tokens of a wide tile, and its rows are half each one's.
  const int blocks = tiling.is_wide() ? 2 : 1;
  const int rows = tiling.tile_rows / blocks;
  const int tokens =
      tiling.is_wide() ? tiling.wide_width() : divide_up(args.tokens, tiling.token_tiles);
  const int64_t column_blocks = divide_up(args.columns / 64, args.column_parts);
  const int64_t bytes = int64_t{rows + tokens / blocks} * 2 * 64;
  const int64_t products = int64_t{divide_up(rows, 64)} * 2 * tokens;
  const int64_t step = std::max({int64_t{100}, bytes / kBytesAlone, products});
  const int64_t ends = tiling.is_wide() ? 3000 : 1000;
  const int tiles = tiling.tiles(args.matrices) * blocks;
  const int64_t alone =
      divide_up(tiles, args.multiprocessors / blocks * blocks) * (ends + column_blocks * step);
  const int64_t together =
      ends + tiles * column_blocks * bytes / (kBytesTogether * args.multiprocessors);
  return std::max(alone, together) + std::min(alone, together) / 8;
}

inline DenseTiling ChooseDenseTiling(const DenseTilingArgs& args) {
  const auto divide_up = [](int a, int b) { return (a + b - 1) / b; };
  DenseTiling best = {};
  int64_t best_cycles = INT64_MAX;
  const auto consider = [&](const DenseTiling& tiling) {
    const int64_t cycles = DenseCycles(args, tiling);
    if (cycles >= best_cycles) return;
    best_cycles = cycles;
    best = tiling;
  };
  for (const int tokens_max : {kDenseTileTokensMax, 64, 32}) {
    const int token_tiles = divide_up(args.tokens, tokens_max);
    if (tokens_max < kDenseTileTokensMax && args.tokens <= tokens_max) break;  // nothing new
    const int tile_tokens = divide_up(divide_up(args.tokens, token_tiles), 8) * 8;
    for (int tile_rows = 16; tile_rows <= kDenseTileRowsMax; tile_rows += args.row_step) {
      // Few tokens leave room for a second block beside, if rows are few, too.
      if (tile_rows > 64 && (tile_rows < kDenseTileRowsMax || tile_tokens <= 64)) continue;
      consider({.tile_rows = tile_rows,
                .tile_tokens = tile_tokens,
                .row_tiles = divide_up(args.rows, tile_rows),
                .token_tiles = token_tiles,
                .column_parts = args.column_parts});
    }
  }
  if (!args.can_be_wide || args.tokens <= 64) return best;
  for (const int tokens_max : {64, 128, 192, kDenseWideTileTokensMax}) {
    const int token_tiles = divide_up(args.tokens, tokens_max);
    consider({.tile_rows = kDenseWideTileRows,
              .tile_tokens = divide_up(divide_up(args.tokens, token_tiles), 8) * 8,
              .row_tiles = divide_up(args.rows, kDenseWideTileRows),
              .token_tiles = token_tiles,
              .column_parts = args.column_parts});
  }
  return best;
}

}  // namespace r1::kernels
