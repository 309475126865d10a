// matmul.h on the vectors of simd_*.h. A group of panels stays in the first-level cache while the
// rows pass by.
#pragma once

#include "kernels/cpu/tile_amx.h"
#include "kernels/cpu/tile_fp32.h"
#include "kernels/matmul.h"

namespace r1::kernels {

// Writes the sums of a tile's first `rows` rows, or adds them; `columns` columns are real.
template <class V, bool kAccumulate, int kRows, int kPanels>
[[gnu::always_inline]] inline void StoreTile(float* y, int64_t y_stride, int rows, int columns,
                                             const typename V::F (&sums)[kRows][kPanels]) {
  const int last = columns - (kPanels - 1) * kPanelColumns;  // real columns of the last panel
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r, y += y_stride) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      float* target = y + p * kPanelColumns;
      if (p + 1 < kPanels || last >= kPanelColumns) {
        V::Store(target, kAccumulate ? V::Add(V::Load(target), sums[r][p]) : sums[r][p]);
      } else {
        V::StoreFirst(target,
                      kAccumulate ? V::Add(V::LoadFirst(target, last), sums[r][p]) : sums[r][p],
                      last);
      }
    }
  }
}

// Adds the bias of a tile's columns, likewise.
template <class V, int kRows, int kPanels>
[[gnu::always_inline]] inline void AddBias(const float* bias, int rows, int columns,
                                           typename V::F (&sums)[kRows][kPanels]) {
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
    const int real = columns - p * kPanelColumns;
    const typename V::F addend =
        V::LoadFirst(bias + p * kPanelColumns, real < kPanelColumns ? real : kPanelColumns);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) sums[r][p] = V::Add(sums[r][p], addend);
  }
}

// Rows [first, first + count) × kPanels panels from `panel` on. left, weights: what args.x and
// args.w stand for.
template <class V, int kRows, int kPanels, class Left, class Weight>
void MatmulTile(const MatmulArgs& args, const Left& left, const Weight* weights, int first,
                int panel, int count) {
  const int rows = TileShape<V, Left>::kFixedRows ? kRows : count;
  const int column = panel * kPanelColumns;
  float* const y = args.y + first * args.y_stride + column;
  typename V::F sums[kRows][kPanels];
  const bool follows = column + kPanels * kPanelColumns < args.w.n;
  MultiplyTile<V>(left, first,
                  WithNext(weights + int64_t{column} * args.w.k,
                           int64_t{kPanels} * kPanelColumns * args.w.k, follows, args.next),
                  args.w.k, sums);
  if (args.bias != nullptr) AddBias<V>(args.bias + column, rows, args.w.n - column, sums);
  if (args.accumulate) {
    StoreTile<V, true>(y, args.y_stride, rows, args.w.n - column, sums);
  } else {
    StoreTile<V, false>(y, args.y_stride, rows, args.w.n - column, sums);
  }
}

// `count` rows, at most kRows.
template <class V, int kPanels, int kRows, class Left, class Weight>
void MatmulRows(const MatmulArgs& args, const Left& left, const Weight* weights, int first,
                int panel, int count) {
  constexpr bool kFixedRows = TileShape<V, Left>::kFixedRows;
  if (!kFixedRows || count == kRows) {
    MatmulTile<V, kRows, kPanels>(args, left, weights, first, panel, count);
  } else if constexpr (kFixedRows && kRows > 1) {
    MatmulRows<V, kPanels, kRows - 1>(args, left, weights, first, panel, count);
  }
}

template <class V, int kPanels, class Left, class Weight>
void MatmulPanels(const MatmulArgs& args, const Left& left, const Weight* weights, int panel) {
  using Shape = TileShape<V, Left>;
  ForTiles<Shape>(args.m, [&](int first, int count) {
    MatmulRows<V, kPanels, Shape::kRows>(args, left, weights, first, panel, count);
  });
}

template <class V, class Left, class Weight>
void MatmulOf(const MatmulArgs& args, const Left& left, const Weight* weights) {
  constexpr int kTilePanels = TileShape<V, Left>::kPanels;
  const int panels = (args.w.n + kPanelColumns - 1) / kPanelColumns;
  int panel = 0;
  if (std::is_same_v<Left, LeftSide<Bf16>> && args.m <= kStreamedRows) {
    for (; panel < panels; ++panel) MatmulPanels<V, 1>(args, left, weights, panel);
    return;
  }
  for (; panel + kTilePanels <= panels; panel += kTilePanels) {
    MatmulPanels<V, kTilePanels>(args, left, weights, panel);
  }
  if constexpr (kTilePanels > 2) {
    if (panel + 2 <= panels) {
      MatmulPanels<V, 2>(args, left, weights, panel);
      panel += 2;
    }
  }
  if (panel < panels) MatmulPanels<V, 1>(args, left, weights, panel);
}

template <class V>
void MatmulFp32(const MatmulArgs& args) {
  const LeftSide<float> left = {args.x, args.x_stride, args.rows};
  if (args.w.panels.bf16 == nullptr) {
    MatmulOf<V>(args, left, args.w.panels.fp32);
  } else if constexpr (V::kMultipliesPairs) {
    ForRoundedLeft<V>(left, args.m, args.w.k, [&args](const auto& rounded, int first, int count) {
      MatmulArgs part = args;
      part.y += first * args.y_stride;
      part.m = count;
      MatmulOf<V>(part, rounded, args.w.panels.bf16);
    });
  } else {
    MatmulOf<V>(args, left, args.w.panels.bf16);
  }
}

}  // namespace r1::kernels
