// The work of an expert layer as a list that every block walks by itself: which rows of which
// expert for which tokens. Built on the device from the router's choice (BuildMoePlan), read by
// MoePlanCursor. The cursor is plain arithmetic and is tested on the CPU.
//
// A place is a row of an (expert, token) pair: the pairs are sorted by expert, then by token; the
// shared experts' pairs come last. Experts without tokens do not appear.
#pragma once

#include <cstdint>

#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {

inline constexpr int kMoeExpertsMax = 256;
inline constexpr int kMoeSharedExpertsMax = 8;
inline constexpr int kMoePlanEntriesMax = kMoeExpertsMax + kMoeSharedExpertsMax + 1;

// Entry i is the i-th expert that has tokens, shared ones last. Behind the last one, the begins
// repeat the totals.
struct MoePlan {
  int* expert;       // [entries]
  int* place_begin;  // [entries]
  int* tile_begin;   // [entries]: token tiles before this expert's
};

// Tokens of each of `parts` parts but the last: equal shares in multiples of 8.
R1_HOST_DEVICE constexpr int EqualShare(int tokens, int parts) {
  return DivideUp(DivideUp(tokens, parts), 8) * 8;
}

// What tiles look like; the host's choice, by shape and number of tokens.
struct MoeTiling {
  int tile_rows;
  int tile_tokens;  // at most; a multiple of 8
  int gate_up_row_tiles;
  int down_row_tiles;
  // A share begins each half with its tiles of shared experts, the first of which is known before
  // the router has chosen (MoePlanCursor::FirstOfShared).
  bool shared_first = false;
};

struct MoeTile {
  bool down;  // second half of the layer
  int expert;
  int row_begin;   // first of tile_rows rows of the packed matrix
  int place;       // first place
  int tokens;      // 1 … tile_tokens
  int token_tile;  // number of the token tile among all, the same in both halves
  bool alone;      // the expert has no other token tile
};

// Sets the tile's tokens: of an expert's, whose places begin at first_place, the part `part` of
// `parts`.
R1_HOST_DEVICE constexpr void SetMoeTileTokens(int tokens, int parts, int part, int first_place,
                                               MoeTile* tile) {
  const int share = EqualShare(tokens, parts);
  const int left = tokens - part * share;
  tile->alone = parts == 1;
  tile->place = first_place + part * share;
  tile->tokens = left < share ? left : share;
}

// Experts that all tokens have. Their places follow the routed experts'.
struct MoeShared {
  int first_expert;
  int experts;
  int tokens;
  int first_place;
};

// Walks one of `step` equal shares of: all gate-up tiles, then all down tiles. Routed experts'
// tiles come by expert, then by row, the expert's token tiles fastest, so that blocks that run at
// the same time share weights: rounds of `step` tiles, one a share. Tiles of shared experts, which
// keep the tensor cores busier than memory, come in between, at other times in distant shares; or
// last, where they are so many that memory does not set the pace anyway, or all tiles so few that
// what waits for the routed experts' results is best begun early; or first, if the tiling says so.
class MoePlanCursor {
 public:
  static constexpr int kSpreadTilesMax = 4;   // token tiles of a shared expert
  static constexpr int kSpreadRoutedMin = 4;  // routed tiles of a share

  R1_HOST_DEVICE MoePlanCursor(const MoePlan& plan, int token_tiles, const MoeShared& shared,
                               const MoeTiling& tiling, int first, int step)
      : plan_(plan),
        tiling_(tiling),
        shared_(shared),
        shared_tiles_(DivideUp(shared.tokens, tiling.tile_tokens)),
        routed_tiles_(token_tiles - shared.experts * shared_tiles_),
        first_(first),
        step_(step),
        next_routed_(first),
        next_shared_(step - 1 - first) {
    BeginHalf();
  }

  // The first tile of share `first`, but for its token_tile, if it is a shared expert's. Needs no
  // plan.
  static R1_HOST_DEVICE bool FirstOfShared(const MoeShared& shared, const MoeTiling& tiling,
                                           int first, int step, MoeTile* tile) {
    const int token_tiles = shared.experts * DivideUp(shared.tokens, tiling.tile_tokens);
    const MoePlanCursor cursor({}, token_tiles, shared, tiling, first, step);
    if (!tiling.shared_first || cursor.next_shared_ >= cursor.shared_end_) return false;
    tile->down = false;
    cursor.FillShared(tile);
    return true;
  }

  // False at the end.
  R1_HOST_DEVICE bool Next(MoeTile* tile) {
    if (next_routed_ >= routed_end_ && next_shared_ >= shared_end_) {
      if (down_) return false;
      BeginDown();
      if (next_routed_ >= routed_end_ && next_shared_ >= shared_end_) return false;
    }
    tile->down = down_;
    if (next_shared_ < shared_end_ && (routed_before_ <= 0 || next_routed_ >= routed_end_)) {
      FillShared(tile);
      next_shared_ += step_;
      routed_before_ = spacing_;
    } else {
      FillRouted(tile);
      AdvanceRouted();
      --routed_before_;
    }
    return true;
  }

 private:
  R1_HOST_DEVICE int row_tiles() const {
    return down_ ? tiling_.down_row_tiles : tiling_.gate_up_row_tiles;
  }

  // The first round goes on where gate-up's last one ended. So all shares have as many routed tiles
  // before the last round, which ends where the shares with one shared tile more begin: far from
  // those with one gate-up tile more, the larger ones.
  R1_HOST_DEVICE void BeginDown() {
    const int begun = routed_end_ % step_;
    const int first_round = (step_ - begun) % step_;
    const int tiles = tiling_.down_row_tiles * routed_tiles_;
    const int last_round = tiles < first_round ? 0 : (tiles - first_round) % step_;
    const int shared = shared_end_ + tiling_.down_row_tiles * shared_.experts * shared_tiles_;
    const int last_first = (2 * step_ - shared % step_ - last_round) % step_;
    last_begin_ = tiles - last_round;
    last_routed_ = last_begin_ + (first_ - last_first + step_) % step_;
    next_routed_ = (first_ - begun + step_) % step_;
    if (next_routed_ >= last_begin_) next_routed_ = last_routed_;
    next_shared_ -= shared_end_;
    down_ = true;
    entry_ = 0;
    BeginHalf();
  }

  R1_HOST_DEVICE void AdvanceRouted() {
    if (!down_) {
      next_routed_ += step_;
    } else if (next_routed_ >= last_begin_) {
      next_routed_ = routed_end_;
    } else {
      next_routed_ += step_;
      if (next_routed_ >= last_begin_) next_routed_ = last_routed_;
    }
  }

  R1_HOST_DEVICE void BeginHalf() {
    routed_end_ = row_tiles() * routed_tiles_;
    shared_end_ = row_tiles() * shared_.experts * shared_tiles_;
    if (next_shared_ >= shared_end_) return;
    if (tiling_.shared_first) {
      routed_before_ = 0;
      return;
    }
    const int routed = DivideUp(routed_end_ - next_routed_, step_);  // 0 or less: none
    if (shared_tiles_ > kSpreadTilesMax || routed < kSpreadRoutedMin) {
      routed_before_ = routed;
      return;
    }
    spacing_ = routed / DivideUp(shared_end_ - next_shared_, step_);
    routed_before_ = spacing_ * (step_ - 1 - first_) / step_;
  }

  R1_HOST_DEVICE void FillRouted(MoeTile* tile) {
    while (next_routed_ >= row_tiles() * plan_.tile_begin[entry_ + 1]) ++entry_;
    const int first_tile = plan_.tile_begin[entry_];
    const int tiles = plan_.tile_begin[entry_ + 1] - first_tile;
    const int in_expert = next_routed_ - row_tiles() * first_tile;
    const int place_begin = plan_.place_begin[entry_];
    tile->expert = plan_.expert[entry_];
    tile->row_begin = in_expert / tiles * tiling_.tile_rows;
    tile->token_tile = first_tile + in_expert % tiles;
    SetMoeTileTokens(plan_.place_begin[entry_ + 1] - place_begin, tiles, in_expert % tiles,
                     place_begin, tile);
  }

  R1_HOST_DEVICE void FillShared(MoeTile* tile) const {
    const int of_expert = row_tiles() * shared_tiles_;
    const int expert = next_shared_ / of_expert;
    const int in_expert = next_shared_ % of_expert;
    const int token_tile = in_expert % shared_tiles_;
    tile->expert = shared_.first_expert + expert;
    tile->row_begin = in_expert / shared_tiles_ * tiling_.tile_rows;
    tile->token_tile = routed_tiles_ + expert * shared_tiles_ + token_tile;
    SetMoeTileTokens(shared_.tokens, shared_tiles_, token_tile,
                     shared_.first_place + expert * shared_.tokens, tile);
  }

  const MoePlan plan_;
  const MoeTiling tiling_;
  const MoeShared shared_;
  const int shared_tiles_;  // token tiles of each shared expert
  const int routed_tiles_;  // token tiles of all routed ones
  const int first_;
  const int step_;
  int next_routed_;
  int next_shared_;
  int routed_end_ = 0;
  int shared_end_ = 0;
  int entry_ = 0;
  int spacing_ = 0;        // routed tiles between shared ones
  int routed_before_ = 0;  // the next shared one
  int last_begin_ = 0;     // of down: the last round that is not full, and this share's tile of it
  int last_routed_ = 0;
  bool down_ = false;
};

}  // namespace r1::kernels
