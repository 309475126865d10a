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
// Of a wide tile, which two blocks share, each with half of its rows, or four, each also with one
// of two token tiles (dense_wide_bf16_sm90.h).
inline constexpr int kDenseWideTileRows = 256;
inline constexpr int kDenseWideTileTokensMax = 256;
inline constexpr int kDenseWideTokensAbove = 64;

struct DenseTiling {
  int tile_rows;    // a multiple of 8 up to 64, or 128; or kDenseWideTileRows
  int tile_tokens;  // of a block, a multiple of 8
  int row_tiles;    // of a matrix
  int token_tiles;
  int column_parts;
  int blocks = 1;  // that share a tile: 2 or 4 of a wide one

  bool is_wide() const { return blocks > 1; }
  // Tokens that a wide tile's products are made for.
  int wide_width() const { return (tile_tokens + 63) / 64 * 64; }
  int tokens_of_tile() const { return blocks == 4 ? 2 * tile_tokens : tile_tokens; }

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

// Cycles that a product takes in tiles of one block.
inline int64_t DenseCycles(const DenseTilingArgs& args, const DenseTiling& tiling) {
  // What a multiprocessor can take in from L2 in a cycle, alone and when all of them do; 64 by 128
  // products of 64 columns keep its tensor cores busy for 256 cycles; the products of a block of
  // columns take at least 100, a tile's beginning and end about 1,000.
  constexpr int kBytesAlone = 45;
  constexpr int kBytesTogether = 36;
  constexpr int kEnds = 1000;
  const int tokens = DivideUp(args.tokens, tiling.token_tiles);
  const int64_t column_blocks = DivideUp(args.columns / 64, args.column_parts);
  const int64_t bytes = int64_t{tiling.tile_rows + tokens} * 2 * 64;
  const int64_t products = int64_t{DivideUp(tiling.tile_rows, 64)} * 2 * tiling.tile_tokens;
  const int64_t step = std::max({int64_t{100}, bytes / kBytesAlone, products});
  const int tiles = tiling.tiles(args.matrices);
  const int64_t alone = DivideUp(tiles, args.multiprocessors) * (kEnds + column_blocks * step);
  // Rows that are no whole share of a packed block come more slowly: 37,888 of 3,584 columns, one
  // token, took 74 us in tiles of 48 and 57 in tiles of 64.
  const int pieces_percent = kPackedBlockRows % tiling.tile_rows == 0 ? 100 : 130;
  const int64_t slowed = int64_t{tiling.tile_rows * pieces_percent / 100 + tokens} * 2 * 64;
  const int64_t together =
      kEnds + tiles * column_blocks * slowed / (kBytesTogether * args.multiprocessors);
  return std::max(alone, together) + std::min(alone, together) / 8;
}

// The same in wide tiles, fitted to 42 products of M16, Qwen2.5-1.5B and -7B on an H200: with these
// numbers the choice is at most 5 % slower than the best one, but for three of them.
inline int64_t DenseWideCycles(const DenseTilingArgs& args, const DenseTiling& tiling) {
  constexpr double kScale = 8.0 / 9;  // to the cycles of the other kernel's model
  constexpr double kBytesOfMemory = 2300;
  // A block of columns of 128 rows and 64 tokens takes longer to come in than to be multiplied.
  constexpr double kLeastOfBlock = 505;
  const double column_blocks = DivideUp(args.columns / 64, args.column_parts);
  // Multiprocessors come in groups that fours do not always fill.
  const int at_once =
      tiling.blocks == 4 ? args.multiprocessors * 10 / 44 : args.multiprocessors / 2;
  const int rounds = DivideUp(tiling.tiles(args.matrices), at_once);
  const int width = tiling.wide_width();
  const double of_round = 400 + 12 * width + std::max(6.5 * width, kLeastOfBlock) * column_blocks;
  const double weight_bytes = 1.0 * args.matrices * PackedBytes(args.rows, args.columns);
  // Of two equal choices, fours read less.
  const double bonus = tiling.blocks == 4 ? 0.98 : 1;
  return static_cast<int64_t>(kScale * bonus *
                              std::max(rounds * of_round, weight_bytes / kBytesOfMemory));
}

inline DenseTiling ChooseDenseTiling(const DenseTilingArgs& args) {
  DenseTiling best = {};
  int64_t best_cycles = INT64_MAX;
  const auto consider = [&](const DenseTiling& tiling) {
    const int64_t cycles =
        tiling.is_wide() ? DenseWideCycles(args, tiling) : DenseCycles(args, tiling);
    if (cycles >= best_cycles) return;
    best_cycles = cycles;
    best = tiling;
  };
  for (const int tokens_max : {kDenseTileTokensMax, 64, 32}) {
    const int token_tiles = DivideUp(args.tokens, tokens_max);
    if (tokens_max < kDenseTileTokensMax && args.tokens <= tokens_max) break;  // nothing new
    const int tile_tokens = DivideUp(DivideUp(args.tokens, token_tiles), 8) * 8;
    for (int tile_rows = 16; tile_rows <= kDenseTileRowsMax; tile_rows += args.row_step) {
      // Few tokens leave room for a second block beside, if rows are few, too.
      if (tile_rows > 64 && (tile_rows < kDenseTileRowsMax || tile_tokens <= 64)) continue;
      consider({.tile_rows = tile_rows,
                .tile_tokens = tile_tokens,
                .row_tiles = DivideUp(args.rows, tile_rows),
                .token_tiles = token_tiles,
                .column_parts = args.column_parts});
    }
  }
  if (!args.can_be_wide || args.tokens <= kDenseWideTokensAbove) return best;
  for (const int blocks : {2, 4}) {
    for (const int tokens_max : {64, 128, 192, kDenseWideTileTokensMax}) {
      // Pairs would read the weights too often.
      if (blocks == 2 && tokens_max == 64) continue;
      const int token_blocks = blocks / 2;
      const int token_tiles = DivideUp(args.tokens, tokens_max * token_blocks);
      const int tokens = DivideUp(args.tokens, token_tiles * token_blocks);
      consider({.tile_rows = kDenseWideTileRows,
                .tile_tokens = DivideUp(tokens, 8) * 8,
                .row_tiles = DivideUp(args.rows, kDenseWideTileRows),
                .token_tiles = token_tiles,
                .column_parts = args.column_parts,
                .blocks = blocks});
    }
  }
  return best;
}

}  // namespace r1::kernels
