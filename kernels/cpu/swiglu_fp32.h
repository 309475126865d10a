// swiglu.h on the vectors of simd_*.h: gate and up of the same 16 columns meet in registers.
#pragma once

#include "kernels/cpu/simd_math.h"
#include "kernels/cpu/tile_amx.h"
#include "kernels/cpu/tile_fp32.h"
#include "kernels/swiglu.h"

namespace r1::kernels {

// Adds the bias of 16 columns, of which `columns` are real, to the first `rows` rows.
template <class V, int kRows>
[[gnu::always_inline]] inline void AddRowBias(const float* bias, int rows, int columns,
                                              typename V::F (&sums)[kRows]) {
  if (bias == nullptr) return;
  const typename V::F addend =
      V::LoadFirst(bias, columns < kPanelColumns ? columns : kPanelColumns);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) sums[r] = V::Add(sums[r], addend);
}

// left, weights: what args.x and args.w stand for.
template <class V, int kRows, class Left, class Weight>
void SwigluTile(const SwigluArgs& args, const Left& left, const Weight* weights, int first,
                int column, int count) {
  using Shape = TileShape<V, Left>;
  const int rows = Shape::kFixedRows ? kRows : count;
  const int64_t panel_weights = int64_t{kPanelColumns} * args.w.k;
  const Weight* gate_panel = weights + int64_t{2} * column * args.w.k;
  const bool follows = column + kPanelColumns < args.w.intermediate;
  typename V::F gates[kRows];
  typename V::F ups[kRows];
  constexpr bool kCanStream = std::is_same_v<Left, LeftSide<Bf16>> && kRows <= kStreamedRows;
  const bool one_behind_other = Shape::kPanels == 1 || (kCanStream && args.m <= kStreamedRows);
  if (!one_behind_other) {
    typename V::F sums[kRows][2];
    MultiplyTile<V>(left, first, WithNext(gate_panel, 2 * panel_weights, follows, args.next),
                    args.w.k, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      gates[r] = sums[r][0];
      ups[r] = sums[r][1];
    }
  } else {  // both at once would not fit into the registers, or are two streams
    typename V::F sums[kRows][1];
    const Weight* up_panel = gate_panel + panel_weights;
    MultiplyTile<V>(left, first, TilePanels<Weight>{gate_panel, up_panel}, args.w.k, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) gates[r] = sums[r][0];
    MultiplyTile<V>(left, first, WithNext(up_panel, panel_weights, follows, args.next), args.w.k,
                    sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) ups[r] = sums[r][0];
  }
  const int columns = args.w.intermediate - column;
  AddRowBias<V>(args.gate_bias ? args.gate_bias + column : nullptr, rows, columns, gates);
  AddRowBias<V>(args.up_bias ? args.up_bias + column : nullptr, rows, columns, ups);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const typename V::F y = V::Mul(Silu<V>(gates[r]), ups[r]);
    float* target = args.y + (first + r) * args.y_stride + column;
    if (columns >= kPanelColumns) {
      V::Store(target, y);
    } else {
      V::StoreFirst(target, y, columns);
    }
  }
}

// `count` rows, at most kRows.
template <class V, int kRows, class Left, class Weight>
void SwigluRows(const SwigluArgs& args, const Left& left, const Weight* weights, int first,
                int column, int count) {
  constexpr bool kFixedRows = TileShape<V, Left>::kFixedRows;
  if (!kFixedRows || count == kRows) {
    SwigluTile<V, kRows>(args, left, weights, first, column, count);
  } else if constexpr (kFixedRows && kRows > 1) {
    SwigluRows<V, kRows - 1>(args, left, weights, first, column, count);
  }
}

template <class V, class Left, class Weight>
void SwigluOf(const SwigluArgs& args, const Left& left, const Weight* weights) {
  using Shape = TileShape<V, Left>;
  for (int column = 0; column < args.w.intermediate; column += kPanelColumns) {
    ForTiles<Shape>(args.m, [&](int first, int count) {
      SwigluRows<V, Shape::kRows>(args, left, weights, first, column, count);
    });
  }
}

template <class V>
void SwigluFp32(const SwigluArgs& args) {
  const LeftSide<float> left = {args.x, args.x_stride, args.rows};
  if (args.w.panels.bf16 == nullptr) {
    SwigluOf<V>(args, left, args.w.panels.fp32);
  } else if constexpr (V::kMultipliesPairs) {
    ForRoundedLeft<V>(left, args.m, args.w.k, [&args](const auto& rounded, int first, int count) {
      SwigluArgs part = args;
      part.y += first * args.y_stride;
      part.m = count;
      SwigluOf<V>(part, rounded, args.w.panels.bf16);
    });
  } else {
    SwigluOf<V>(args, left, args.w.panels.bf16);
  }
}

}  // namespace r1::kernels
