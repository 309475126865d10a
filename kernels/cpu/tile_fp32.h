// The register tile under every matrix product of the CPU kernels.
//
// As in all of cpu/*.h, a function is a template on the vector type or always inlined: one symbol
// never stands for code of two instruction sets.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/matmul.h"
#include "kernels/panels.h"

namespace r1::kernels {

// The panels of a tile, k * 16 weights each, one behind the other; and what comes next, or they
// again.
template <class Weight>
struct TilePanels {
  const Weight* panels;
  const Weight* next;
};

// `weights` of panels are the tile's. Behind the last tile of a matrix comes `behind`, or nothing.
template <class Weight>
[[gnu::always_inline]] inline TilePanels<Weight> WithNext(const Weight* panels, int64_t weights,
                                                          bool follows, const Panels& behind) {
  const Weight* other;
  if constexpr (std::is_same_v<Weight, Bf16>) {
    other = behind.bf16;
  } else {
    other = behind.fp32;
  }
  return {panels, follows ? panels + weights : other != nullptr ? other : panels};
}

// The left side of a product: its rows, or those that `index` names.
template <class X>
struct LeftSide {
  const X* x;
  int64_t stride;
  const int32_t* index;
};

// Addresses of the rows [first, first + kRows).
template <int kRows, class X>
[[gnu::always_inline]] inline void RowPointers(const LeftSide<X>& left, int first,
                                               const X* (&rows)[kRows]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    rows[r] = left.x + (left.index ? left.index[first + r] : first + r) * left.stride;
  }
}

// A tile's rows and panels, at most, by its left side.
template <class V, class Left>
struct TileShape {
  static constexpr bool kFixedRows = true;  // a function for each number of rows
  static constexpr int kRows = V::kTileRows;
  static constexpr int kPanels = V::kTilePanels;
};

// sums[r][p] = Σ_k row[r][k] * panels[p][k][0..15], one chain of fused multiply-adds over ascending
// k; row[r] is first + r of the left side.
template <class V, int kRows, int kPanels>
[[gnu::always_inline]] inline void MultiplyTile(const LeftSide<float>& left, int first,
                                                TilePanels<float> weights, int k,
                                                typename V::F (&sums)[kRows][kPanels]) {
  const float* row[kRows];
  RowPointers(left, first, row);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) sums[r][p] = V::Zero();
  }
  const int64_t panel_weights = int64_t{k} * kPanelColumns;
  const float* panels = weights.panels;
  for (int i = 0; i < k; ++i) {
    typename V::F w[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) w[p] = V::Load(panels + p * panel_weights);
    panels += kPanelColumns;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename V::F x = V::Set1(row[r][i]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) sums[r][p] = V::MulAdd(x, w[p], sums[r][p]);
    }
  }
}

// The same with bf16 panels: two steps of k from one load.
template <class V, int kRows, int kPanels>
[[gnu::always_inline]] inline void MultiplyTile(const LeftSide<float>& left, int first,
                                                TilePanels<Bf16> weights, int k,
                                                typename V::F (&sums)[kRows][kPanels]) {
  const float* row[kRows];
  RowPointers(left, first, row);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) sums[r][p] = V::Zero();
  }
  const int64_t panel_weights = int64_t{k} * kPanelColumns;
  const Bf16* panels = weights.panels;
  for (int i = 0; i < k; i += 2, panels += 2 * kPanelColumns) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      typename V::F even, odd;
      V::LoadPairs(panels + p * panel_weights, even, odd);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sums[r][p] = V::MulAdd(V::Set1(row[r][i]), even, sums[r][p]);
        sums[r][p] = V::MulAdd(V::Set1(row[r][i + 1]), odd, sums[r][p]);
      }
    }
  }
}

// Calls body(first, count) for the tiles of m rows. In vector registers they are of nearly equal
// height, because a low one waits for its few chains of additions: 9 rows are 5 and 4, not 8 and 1.
template <class Shape, class Body>
[[gnu::always_inline]] inline void ForTiles(int m, const Body& body) {
  int tiles = (m + Shape::kRows - 1) / Shape::kRows;
  for (int first = 0; first < m; --tiles) {
    int count = (m - first + tiles - 1) / tiles;
    if constexpr (!Shape::kFixedRows) count = tiles > 1 ? Shape::kRows : m - first;
    body(first, count);
    first += count;
  }
}

}  // namespace r1::kernels
