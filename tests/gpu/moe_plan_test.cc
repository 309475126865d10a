// The walk over an expert layer's work: whatever the spread of tokens and the number of blocks,
// every (row tile, token) of both halves is visited once, gate-up before down.
#include "kernels/cuda/moe_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <tuple>
#include <vector>

#include "common/rng.h"

namespace r1::kernels {
namespace {

// The plan that the GPU builds, for experts with these numbers of tokens.
struct TestPlan {
  std::vector<int> expert, place_begin, tile_begin;
  MoePlan view;

  TestPlan(const std::vector<int>& tokens, int tile_tokens) {
    int places = 0;
    int tiles = 0;
    for (int e = 0; e < static_cast<int>(tokens.size()); ++e) {
      if (tokens[e] == 0) continue;
      expert.push_back(e);
      place_begin.push_back(places);
      tile_begin.push_back(tiles);
      places += tokens[e];
      tiles += DivideUp(tokens[e], tile_tokens);
    }
    while (tile_begin.size() < tokens.size() + 1) {
      expert.push_back(0);
      place_begin.push_back(places);
      tile_begin.push_back(tiles);
    }
    view = {.expert = expert.data(),
            .place_begin = place_begin.data(),
            .tile_begin = tile_begin.data()};
  }
};

TEST(MoePlanCursorTest, EveryTileIsVisitedOnce) {
  const uint64_t seed = 5;
  Rng rng(seed, 0, RngPurpose::kTest, 0, 0);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round);
    const MoeTiling tiling = {.tile_rows = 128,
                              .tile_tokens = 8 << rng.NextBelow(5),
                              .gate_up_row_tiles = 1 + static_cast<int>(rng.NextBelow(5)),
                              .down_row_tiles = 1 + static_cast<int>(rng.NextBelow(5)),
                              .shared_first = rng.NextBelow(2) == 0};
    std::vector<int> tokens;
    int places = 0;
    for (uint64_t e = 0; e < 1 + rng.NextBelow(20); ++e) {
      const bool has_tokens = rng.NextBelow(3) > 0;
      tokens.push_back(has_tokens ? static_cast<int>(rng.NextBelow(400)) : 0);
      places += tokens.back();
    }
    MoeShared shared = {.first_expert = static_cast<int>(tokens.size()),
                        .experts = static_cast<int>(rng.NextBelow(4)),
                        .tokens = 1 + static_cast<int>(rng.NextBelow(300)),
                        .first_place = places};
    for (int e = 0; e < shared.experts; ++e) tokens.push_back(shared.tokens);
    places += shared.experts * shared.tokens;
    const TestPlan plan(tokens, tiling.tile_tokens);
    const int blocks = 1 + static_cast<int>(rng.NextBelow(40));
    std::map<std::tuple<bool, int, int>, int> visits;  // (half, row, place) -> expert
    for (int block = 0; block < blocks; ++block) {
      MoePlanCursor cursor(plan.view, plan.tile_begin.back(), shared, tiling, block, blocks);
      MoeTile tile;
      MoeTile known = {};
      bool is_known = MoePlanCursor::FirstOfShared(shared, tiling, block, blocks, &known);
      bool seen_down = false;
      while (cursor.Next(&tile)) {
        EXPECT_FALSE(seen_down && !tile.down);
        seen_down |= tile.down;
        if (is_known) {
          EXPECT_EQ(tile.down, known.down);
          EXPECT_EQ(tile.expert, known.expert);
          EXPECT_EQ(tile.row_begin, known.row_begin);
          EXPECT_EQ(tile.alone, known.alone);
          is_known = false;
        }
        ASSERT_GE(tile.tokens, 1);
        ASSERT_LE(tile.tokens, tiling.tile_tokens);
        ASSERT_LT(tile.token_tile, plan.tile_begin.back());
        EXPECT_EQ(tile.alone, tokens[tile.expert] <= tiling.tile_tokens);
        for (int i = 0; i < tile.tokens; ++i) {
          const auto key = std::make_tuple(tile.down, tile.row_begin, tile.place + i);
          EXPECT_TRUE(visits.emplace(key, tile.expert).second) << "visited twice";
        }
      }
    }
    const size_t expected =
        static_cast<size_t>(places) * (tiling.gate_up_row_tiles + tiling.down_row_tiles);
    ASSERT_EQ(visits.size(), expected);
    for (const auto& [key, expert] : visits) {
      const auto [down, row, place] = key;
      EXPECT_EQ(row % tiling.tile_rows, 0);
      EXPECT_LT(row / tiling.tile_rows, down ? tiling.down_row_tiles : tiling.gate_up_row_tiles);
      int first = 0;
      for (int e = 0; e < expert; ++e) first += tokens[e];
      EXPECT_GE(place, first);
      EXPECT_LT(place, first + tokens[expert]);
    }
  }
}

// M16, 16 tokens that have 50 experts: 550 and 400 tiles of 256 rows on 132 blocks. The 22 blocks
// with a fifth gate-up tile have the fewest down tiles.
TEST(MoePlanCursorTest, NoShareHasMoreOfBothHalves) {
  const MoeTiling tiling = {
      .tile_rows = 256, .tile_tokens = 32, .gate_up_row_tiles = 11, .down_row_tiles = 8};
  const MoeShared shared = {.first_expert = 50, .experts = 0, .tokens = 16, .first_place = 96};
  const TestPlan plan(std::vector<int>(50, 2), tiling.tile_tokens);
  constexpr int kBlocks = 132;
  std::map<std::pair<int, int>, int> shares;
  for (int block = 0; block < kBlocks; ++block) {
    MoePlanCursor cursor(plan.view, plan.tile_begin.back(), shared, tiling, block, kBlocks);
    MoeTile tile;
    int gate_up = 0;
    int down = 0;
    while (cursor.Next(&tile)) ++(tile.down ? down : gate_up);
    ++shares[{gate_up, down}];
  }
  const std::map<std::pair<int, int>, int> expected = {{{5, 2}, 22}, {{4, 3}, 84}, {{4, 4}, 26}};
  EXPECT_EQ(shares, expected);
}

// M16 with 512 tokens: shares differ by a tile, and at any time few blocks have tiles of shared
// experts.
TEST(MoePlanCursorTest, SharedExpertsTilesAreSpreadOut) {
  const MoeTiling tiling = {
      .tile_rows = 128, .tile_tokens = 128, .gate_up_row_tiles = 22, .down_row_tiles = 16};
  const MoeShared shared = {.first_expert = 64, .experts = 2, .tokens = 512, .first_place = 3072};
  std::vector<int> tokens(64, 48);
  tokens.insert(tokens.end(), {512, 512});
  const TestPlan plan(tokens, tiling.tile_tokens);
  constexpr int kBlocks = 132;
  std::map<int, int> lengths;
  std::map<int, int> shared_at;  // by number of the tile in a block's share
  for (int block = 0; block < kBlocks; ++block) {
    MoePlanCursor cursor(plan.view, plan.tile_begin.back(), shared, tiling, block, kBlocks);
    MoeTile tile;
    int length = 0;
    for (; cursor.Next(&tile); ++length) shared_at[length] += tile.expert >= 64;
    ++lengths[length];
  }
  EXPECT_LE(lengths.rbegin()->first - lengths.begin()->first, 1);
  for (const auto& [number, blocks] : shared_at) EXPECT_LE(blocks, kBlocks / 3) << number;
}

TEST(MoePlanCursorTest, SharesAreEqualMultiplesOfEight) {
  for (int tokens = 1; tokens < 2000; ++tokens) {
    for (const int tile_tokens : {8, 64, 128, 256}) {
      const int tiles = DivideUp(tokens, tile_tokens);
      const int share = EqualShare(tokens, tiles);
      EXPECT_EQ(share % 8, 0);
      EXPECT_LE(share, tile_tokens);
      EXPECT_LT(share * (tiles - 1), tokens) << "an empty tile";
      EXPECT_GE(share * tiles, tokens);
    }
  }
}

}  // namespace
}  // namespace r1::kernels
