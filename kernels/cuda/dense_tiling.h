// How a dense product is cut into tiles: by shape, number of tokens and multiprocessors, for the
// least time by a simple model. Tiles never share a sum, so the cut moves no bit. Plain arithmetic,
// tested on the CPU.
#pragma once

#include <cstdint>

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
      if (tile_rows > 64 && tile_rows < kDenseTileRowsMax) continue;
      const DenseTiling tiling = {.tile_rows = tile_rows,
                                  .tile_tokens = tile_tokens,
                                  .row_tiles = divide_up(args.rows, tile_rows),
                                  .token_tiles = token_tiles};
      // A multiprocessor takes in about 45 bytes a cycle; 64 by 128 products of 64 columns keep its
      // tensor cores busy for 256 cycles; a tile's beginning and end take about 1,000.
      const int64_t bytes = (tile_rows + tile_tokens) * 2 * 64;
      const int64_t products = int64_t{divide_up(tile_rows, 64)} * 2 * tile_tokens;
      const int64_t step = bytes / 45 > products ? bytes / 45 : products;
      const int rounds = divide_up(tiling.tiles(args.matrices), args.multiprocessors);
      const int64_t cycles = rounds * (1000 + args.columns / 64 * step);
      if (cycles < best_cycles) {
        best_cycles = cycles;
        best = tiling;
      }
    }
  }
  return best;
}

}  // namespace r1::kernels
