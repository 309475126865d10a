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
          for (const bool can_be_wide : {false, true}) {
            const DenseTiling tiling = ChooseDenseTiling({.tokens = tokens,
                                                          .matrices = matrices,
                                                          .rows = rows,
                                                          .columns = 2048,
                                                          .row_step = row_step,
                                                          .can_be_wide = can_be_wide,
                                                          .multiprocessors = 132});
            EXPECT_GE(tiling.row_tiles * tiling.tile_rows, rows);
            EXPECT_LT((tiling.row_tiles - 1) * tiling.tile_rows, rows);
            EXPECT_GE(tiling.token_tiles * tiling.tokens_of_tile(), tokens);
            EXPECT_LT((tiling.token_tiles - 1) * tiling.tokens_of_tile(), tokens);
            EXPECT_EQ(tiling.tile_tokens % 8, 0);
            EXPECT_EQ(tiling.tile_rows % row_step, 0);
            if (tiling.is_wide()) {
              EXPECT_TRUE(can_be_wide && tokens > kDenseWideTokensAbove);
              EXPECT_EQ(tiling.tile_rows, kDenseWideTileRows);
              EXPECT_LE(tiling.wide_width(), kDenseWideTileTokensMax);
            } else {
              EXPECT_TRUE(tiling.tile_rows <= 64 || tiling.tile_rows == kDenseTileRowsMax);
              EXPECT_LE(tiling.tile_tokens, kDenseTileTokensMax);
            }
          }
        }
      }
    }
  }
}

// The choices that were the fastest on an H200.
TEST(DenseTilingTest, ManyTokensAndRowsTakeWideTiles) {
  const auto choose = [](int tokens, int rows, int columns) {
    return ChooseDenseTiling({.tokens = tokens,
                              .matrices = 1,
                              .rows = rows,
                              .columns = columns,
                              .row_step = 16,
                              .can_be_wide = true,
                              .multiprocessors = 132});
  };
  EXPECT_EQ(choose(512, 4608, 3584).wide_width(), 192);
  EXPECT_EQ(choose(512, 4608, 3584).blocks, 2);
  EXPECT_EQ(choose(512, 17920, 1536).wide_width(), 128);
  EXPECT_EQ(choose(512, 17920, 1536).blocks, 4);
  EXPECT_TRUE(choose(256, 37888, 3584).is_wide());
  EXPECT_TRUE(choose(8192, 2048, 1536).is_wide());
  EXPECT_EQ(choose(512, 1536, 1536).wide_width(), 64) << "24 tiles for 30 fours";
  EXPECT_EQ(choose(256, 3648, 2048).wide_width(), 64);
  EXPECT_EQ(choose(256, 17920, 1536).wide_width(), 128) << "5 rounds of 64 tokens, 3 of 128";
  EXPECT_FALSE(choose(512, 2048, 2048).is_wide()) << "32 tiles for 30 fours";
  EXPECT_FALSE(choose(64, 37888, 3584).is_wide());
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
