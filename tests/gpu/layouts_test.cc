// The layouts that the CUDA kernels read: every element has a place of its own, and what a bulk
// copy or a matrix instruction takes in one piece lies in one piece.
#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda/fp8_layout.h"
#include "kernels/cuda/grouped_cache_layout.h"
#include "kernels/cuda/latent_cache_layout.h"
#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {
namespace {

TEST(PackedLayoutTest, EveryElementHasItsOwnPlace) {
  constexpr int kRows = 200;
  constexpr int kColumns = 192;
  std::set<int64_t> offsets;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      const int64_t offset = PackedOffset(row, column, kColumns);
      EXPECT_GE(offset, 0);
      EXPECT_LT(offset, PackedBytes(kRows, kColumns));
      EXPECT_EQ(offset % 2, 0);
      offsets.insert(offset);
    }
  }
  EXPECT_EQ(offsets.size(), static_cast<size_t>(kRows) * kColumns);
  EXPECT_EQ(PackedBytes(kRows, kColumns), 256 * kColumns * 2) << "rows are padded to 128";
}

TEST(PackedLayoutTest, EightNeighboursStayTogether) {
  for (int column = 0; column < 256; column += 8) {
    for (int i = 1; i < 8; ++i) {
      EXPECT_EQ(PackedOffset(77, column + i, 256), PackedOffset(77, column, 256) + 2 * i);
    }
  }
}

TEST(PackedLayoutTest, EightRowsOfAColumnBlockAreOneRun) {
  for (int row = 0; row < 256; row += 8) {
    std::set<int64_t> offsets;
    for (int i = 0; i < 8; ++i) {
      for (int column = 64; column < 128; ++column) {
        offsets.insert(PackedOffset(row + i, column, 192));
      }
    }
    EXPECT_EQ(*offsets.rbegin() - *offsets.begin(), 8 * kPackedRowBytes - 2) << "row " << row;
    EXPECT_EQ(*offsets.begin(), PackedRowOffset(row, 1, 192));
  }
}

// A column of pieces would otherwise lie in the same banks of shared memory.
TEST(PackedLayoutTest, PiecesOfEightRowsAreInDifferentBanks) {
  for (int piece = 0; piece < 8; ++piece) {
    std::set<int> places;
    for (int row = 8; row < 16; ++row) places.insert(SwizzledPiece(row, piece));
    EXPECT_EQ(places.size(), 8u);
    for (int row = 0; row < 8; ++row) {
      EXPECT_EQ(SwizzledPiece(row, SwizzledPiece(row, piece)), piece);
    }
  }
}

TEST(PackedLayoutTest, GateAndUpRowsAlternateByEight) {
  std::set<int> rows;
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(PackedUpRow(i), PackedGateRow(i) + 8);
    rows.insert(PackedGateRow(i));
    rows.insert(PackedUpRow(i));
  }
  EXPECT_EQ(rows.size(), 128u);
  EXPECT_EQ(*rows.rbegin(), 127);
}

TEST(Fp8LayoutTest, EveryWeightHasItsOwnPlace) {
  constexpr int kRows = 200;
  constexpr int kColumns = 192;
  std::set<int64_t> offsets;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      const int in_tile = Fp8OffsetInTile(row % 64, column % 64);
      EXPECT_LT(in_tile, kFp8TileWeights);
      const int64_t offset = Fp8TileOffset(row, column / 64, kColumns) + in_tile;
      EXPECT_GE(offset, 0);
      EXPECT_LT(offset, Fp8PackedBytes(kRows, kColumns));
      offsets.insert(offset);
    }
  }
  EXPECT_EQ(offsets.size(), static_cast<size_t>(kRows) * kColumns);
  EXPECT_EQ(Fp8PackedBytes(kRows, kColumns), 256 / 64 * kColumns / 64 * kFp8TileBytes);
}

// PTX ISA 9.7.14, fragment A of wgmma m64k16: register i of thread t has the columns
// 2 * (t % 4) + 8 * (i / 2) and the next of row 16 * (t / 32) + t % 32 / 4 + 8 * (i % 2).
TEST(Fp8LayoutTest, ThreadsFindTheirPartOfEachStepSideBySide) {
  for (int thread = 0; thread < 128; ++thread) {
    for (int step = 0; step < 4; ++step) {
      for (int i = 0; i < 4; ++i) {
        const int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
        const int column = step * 16 + i / 2 * 8 + thread % 4 * 2;
        const int word =
            (thread / 32 * 64 + step / 2 * 32 + thread % 32) * 16 + (step % 2 * 2 + i / 2) * 4;
        const int low = i % 2 == 0 ? 1 : 0;  // ConvertFp8 shifts the even bytes up
        EXPECT_EQ(Fp8OffsetInTile(row, column), word + low);
        EXPECT_EQ(Fp8OffsetInTile(row, column + 1), word + low + 2);
      }
    }
  }
}

TEST(LatentCacheLayoutTest, EveryChannelHasItsOwnPlace) {
  std::set<int> offsets;
  for (int token = 0; token < kLatentBlockTokens; ++token) {
    for (int channel = 0; channel < kCacheChannels; ++channel) {
      offsets.insert(CacheOffset(token, channel));
    }
  }
  EXPECT_EQ(offsets.size(), static_cast<size_t>(kLatentBlockTokens) * kCacheChannels);
  EXPECT_EQ(*offsets.begin(), 0);
  EXPECT_EQ(*offsets.rbegin(), kCacheBlockBytes - 2);
  EXPECT_EQ(CacheOffset(5, kLatentChannels) / kCacheTileBytes, kLatentChannels / 64);
}

TEST(GroupedCacheLayoutTest, EveryChannelHasItsOwnPlace) {
  for (const int head_dim : {64, 128}) {
    EXPECT_TRUE(IsGroupedHeadDim(head_dim));
    std::set<int> offsets;
    for (int token = 0; token < kGroupedBlockTokens; ++token) {
      for (int channel = 0; channel < head_dim; ++channel)
        offsets.insert(GroupedOffset(token, channel));
    }
    EXPECT_EQ(offsets.size(), static_cast<size_t>(kGroupedBlockTokens) * head_dim);
    EXPECT_EQ(*offsets.begin(), 0);
    EXPECT_EQ(*offsets.rbegin(), GroupedKeyBytes(head_dim) - 2);
    EXPECT_EQ(GroupedHeadBytes(head_dim), 2 * GroupedKeyBytes(head_dim));
  }
  EXPECT_FALSE(IsGroupedHeadDim(96));
}

// The kernel takes pieces 16 channels apart by an exclusive or with 32 bytes a step.
TEST(GroupedCacheLayoutTest, PiecesOfATokenAreAnExclusiveOrApart) {
  for (int token = 0; token < kGroupedBlockTokens; ++token) {
    for (int channel = 0; channel < 128; channel += 8) {
      EXPECT_EQ(GroupedOffset(token, channel),
                channel / 64 * kGroupedTileBytes +
                    (GroupedOffset(token, channel % 16) ^ channel % 64 / 16 * 32));
    }
  }
}

}  // namespace
}  // namespace r1::kernels
