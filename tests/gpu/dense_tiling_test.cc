// The cut of dense products: complete, inside the kernels' limits, and in one round where it can
// be.
#include "kernels/cuda/dense_tiling.h"

#include <gtest/gtest.h>

namespace r1::kernels {
namespace {

TEST(DenseTilingTest, TilesCoverTheProductWithinTheLimits) {
  for (const int row_step : {8, 16}) {
    for (const int rows : {16, 64, 128, 208, 2048, 3648, 21888}) {
      for (const int tokens : {1, 3, 8, 33, 64, 65, 128, 129, 500, 4096, 16000}) {
        for (const int matrices : {1, 16}) {
          const DenseTiling tiling = ChooseDenseTiling({.tokens = tokens,
                                                        .matrices = matrices,
                                                        .rows = rows,
                                                        .columns = 2048,
                                                        .row_step = row_step,
                                                        .multiprocessors = 132});
          EXPECT_GE(tiling.row_tiles * tiling.tile_rows, rows);
          EXPECT_LT((tiling.row_tiles - 1) * tiling.tile_rows, rows);
          EXPECT_GE(tiling.token_tiles * tiling.tile_tokens, tokens);
          EXPECT_LT((tiling.token_tiles - 1) * tiling.tile_tokens, tokens);
          EXPECT_LE(tiling.tile_tokens,
                    tiling.is_wide() ? kDenseWideTileTokensMax : kDenseTileTokensMax);
          EXPECT_EQ(tiling.tile_tokens % (tiling.is_wide() ? 16 : 8), 0);
          EXPECT_EQ(tiling.tile_rows % row_step, 0);
          EXPECT_TRUE(tiling.tile_rows <= 64 || tiling.tile_rows == kDenseTileRowsMax ||
                      tiling.tile_rows == kDenseWideTileRows);
          EXPECT_TRUE(tokens > kDenseTileTokensMax || !tiling.is_wide());
        }
      }
    }
  }
}

TEST(DenseTilingTest, ManyTokensAndRowsTakeWideTiles) {
  const auto is_wide = [](int tokens, int rows, int columns) {
    return ChooseDenseTiling({.tokens = tokens,
                              .matrices = 1,
                              .rows = rows,
                              .columns = columns,
                              .row_step = 16,
                              .multiprocessors = 132})
        .is_wide();
  };
  EXPECT_TRUE(is_wide(512, 37888, 3584));
  EXPECT_TRUE(is_wide(8192, 2048, 1536));
  EXPECT_FALSE(is_wide(512, 1536, 8960)) << "12 of them for 66 pairs of multiprocessors";
  EXPECT_FALSE(is_wide(128, 37888, 3584));
}

TEST(DenseTilingTest, OneTokenTakesOneRound) {
  for (const int rows : {2048, 3648}) {
    const DenseTiling tiling = ChooseDenseTiling({.tokens = 1,
                                                  .matrices = 1,
                                                  .rows = rows,
                                                  .columns = 2048,
                                                  .row_step = 8,
                                                  .multiprocessors = 132});
    EXPECT_LE(tiling.tiles(1), 132);
    EXPECT_GE(tiling.tiles(1), 60);
  }
}

}  // namespace
}  // namespace r1::kernels
