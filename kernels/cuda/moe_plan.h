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

// Entry i is the i-th expert that has tokens. Behind the last one, the begins repeat the totals.
struct MoePlan {
  int* expert;       // [entries]
  int* place_begin;  // [entries]
  int* tile_begin;   // [entries]: token tiles before this expert's
};

R1_HOST_DEVICE constexpr int DivideUp(int a, int b) { return (a + b - 1) / b; }

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
};

struct MoeTile {
  bool down;  // second half of the layer
  int expert;
  int row_begin;   // first of tile_rows rows of the packed matrix
  int place;       // first place
  int tokens;      // 1 … tile_tokens
  int token_tile;  // number of the token tile among all, the same in both halves
};

// Walks tiles first, first + step, … of: all gate-up tiles, then all down tiles; inside each, by
// expert, then by row, the expert's token tiles fastest, so that blocks that run at the same time
// share weights.
class MoePlanCursor {
 public:
  R1_HOST_DEVICE MoePlanCursor(const MoePlan& plan, int token_tiles, const MoeTiling& tiling,
                               int first, int step)
      : plan_(plan), token_tiles_(token_tiles), tiling_(tiling), step_(step), next_(first) {}

  // False at the end.
  R1_HOST_DEVICE bool Next(MoeTile* tile) {
    if (!down_ && next_ >= tiling_.gate_up_row_tiles * token_tiles_) {
      next_ -= tiling_.gate_up_row_tiles * token_tiles_;
      down_ = true;
      entry_ = 0;
    }
    const int row_tiles = down_ ? tiling_.down_row_tiles : tiling_.gate_up_row_tiles;
    if (next_ >= row_tiles * token_tiles_) return false;
    while (next_ >= row_tiles * plan_.tile_begin[entry_ + 1]) ++entry_;
    const int first_tile = plan_.tile_begin[entry_];
    const int tiles = plan_.tile_begin[entry_ + 1] - first_tile;
    const int in_expert = next_ - row_tiles * first_tile;
    const int place_begin = plan_.place_begin[entry_];
    const int tokens = plan_.place_begin[entry_ + 1] - place_begin;
    const int share = EqualShare(tokens, tiles);
    const int token_tile = in_expert % tiles;
    const int left = tokens - token_tile * share;
    tile->down = down_;
    tile->expert = plan_.expert[entry_];
    tile->row_begin = in_expert / tiles * tiling_.tile_rows;
    tile->place = place_begin + token_tile * share;
    tile->tokens = left < share ? left : share;
    tile->token_tile = first_tile + token_tile;
    next_ += step_;
    return true;
  }

 private:
  const MoePlan plan_;
  const int token_tiles_;
  const MoeTiling tiling_;
  const int step_;
  int next_;
  int entry_ = 0;
  bool down_ = false;
};

}  // namespace r1::kernels
