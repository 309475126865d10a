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

struct DenseTiling {
  int tile_rows;    // a multiple of 8 up to 64, or 128
  int tile_tokens;  // a multiple of 8
  int row_tiles;    // of a matrix
  int token_tiles;

  R1_HOST_DEVICE int tiles(int matrices) const { return matrices * row_tiles * token_tiles; }
};

struct DenseTilingArgs {
  int tokens;
  int matrices;
  int rows;
  int columns;
  int row_step;  // tile_rows is a multiple of it; divides 64
  int multiprocessors;
};

inline DenseTiling ChooseDenseTiling(const DenseTilingArgs& args) {
  const auto divide_up = [](int a, int b) { return (a + b - 1) / b; };
  DenseTiling best = {};
  int64_t best_cycles = INT64_MAX;
  for (const int tokens_max : {kDenseTileTokensMax, 64, 32}) {
    const int token_tiles = divide_up(args.tokens, tokens_max);
    if (tokens_max < kDenseTileTokensMax && args.tokens <= tokens_max) break;  // nothing new
    const int tile_tokens = divide_up(divide_up(args.tokens, token_tiles), 8) * 8;
    for (int tile_rows = 16; tile_rows <= kDenseTileRowsMax; tile_rows += args.row_step) {
      // Few tokens leave room for a second block beside, if rows are few, too.
      if (tile_rows > 64 && (tile_rows < kDenseTileRowsMax || tile_tokens <= 64)) continue;
      const DenseTiling tiling = {.tile_rows = tile_rows,
                                  .tile_tokens = tile_tokens,
                                  .row_tiles = divide_up(args.rows, tile_rows),
                                  .token_tiles = token_tiles};
      // What a multiprocessor can take in from L2 in a cycle, alone and when all of them do; 64 by
      // 128 products of 64 columns keep its tensor cores busy for 256 cycles; the products of a
      // block of columns take at least 100, a tile's beginning and end about 1,000.
      constexpr int kBytesAlone = 45;
      constexpr int kBytesTogether = 36;
      const int64_t column_blocks = args.columns / 64;
      const int64_t bytes = int64_t{tile_rows + divide_up(args.tokens, token_tiles)} * 2 * 64;
      const int64_t products = int64_t{divide_up(tile_rows, 64)} * 2 * tile_tokens;
      const int64_t step = std::max({int64_t{100}, bytes / kBytesAlone, products});
      const int tiles = tiling.tiles(args.matrices);
      const int64_t alone = divide_up(tiles, args.multiprocessors) * (1000 + column_blocks * step);
      const int64_t together =
          1000 + tiles * column_blocks * bytes / (kBytesTogether * args.multiprocessors);
      const int64_t cycles = std::max(alone, together) + std::min(alone, together) / 8;
      if (cycles < best_cycles) {
        best_cycles = cycles;
        best = tiling;
      }
    }
  }
  return best;
}

}  // namespace r1::kernels
