// The register tile of products in pairs (matmul.h), and the rounding of their left side. For
// vector types with kMultipliesPairs.
#pragma once

#include <cstdint>

#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/tile_fp32.h"
#include "kernels/matmul.h"
#include "kernels/panels.h"

namespace r1::kernels {

// So few rows take one panel at a time: they wait for memory, which is fastest read in order. Each
// row's one chain keeps up with it.
inline constexpr int kStreamedRows = 4;

// tile_fp32.h's MultiplyTile, one chain over ascending pairs. It is done with a line of weights
// sooner than memory has brought the next one, and the processor's own prefetching begins anew with
// every panel: so each line that is used fetches its counterpart of the next tile to the
// second-level cache. Where the next tile is the smaller one, some lines behind it come along.
// Streamed rows leave prefetching to the processor.
template <class V, int kRows, int kPanels>
[[gnu::always_inline]] inline void MultiplyTile(const LeftSide<Bf16>& left, int first,
                                                TilePanels<Bf16> weights, int k,
                                                typename V::F (&sums)[kRows][kPanels]) {
  const Bf16* row[kRows];
  RowPointers(left, first, row);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) sums[r][p] = V::Zero();
  }
  const int64_t panel_weights = int64_t{k} * kPanelColumns;
  const Bf16* panels = weights.panels;
  const Bf16* next = weights.next;
  for (int i = 0; i < k; i += 2, panels += 2 * kPanelColumns, next += 2 * kPanelColumns) {
    typename V::Pairs w[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      w[p] = V::LoadPanelPairs(panels + p * panel_weights);
      if constexpr (kRows > kStreamedRows) {
        __builtin_prefetch(next + p * panel_weights, 0, kSecondLevel);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename V::Pairs x = V::SetPair(row[r] + i);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) sums[r][p] = V::AddPairs(sums[r][p], x, w[p]);
    }
  }
}

// Rounds the rows [first, first + count) of `left` to rows of `stride` numbers, a multiple of 16.
template <class V>
void RoundRows(const LeftSide<float>& left, int first, int count, int k, int stride,
               Bf16* rounded) {
  for (int r = 0; r < count; ++r) {
    const float* row[1];
    RowPointers(left, first + r, row);
    Bf16* const target = rounded + int64_t{r} * stride;
    for (int i = 0; i < k; i += 16) {
      V::RoundFirst(row[0] + i, k - i < 16 ? k - i : 16, target + i);
    }
  }
}

// Calls body(rounded, first, count) with rows [first, first + count) of `left` in bf16, until all
// `m` were there: 64 rows of 2,048 numbers at a time, more of shorter ones. Rounding is work for K
// numbers a row beside K * N multiplications, so it is done again in every part of a product that
// threads share.
template <class V, class Body>
void ForRoundedRows(const LeftSide<float>& left, int m, int k, const Body& body) {
  alignas(64) Bf16 rounded[kInputsMax];
  const int stride = (k + 15) / 16 * 16;
  const int fitting = kInputsMax / stride;
  // Whole tiles, if one fits.
  const int block = fitting > V::kTileRows ? fitting / V::kTileRows * V::kTileRows : fitting;
  for (int first = 0; first < m; first += block) {
    const int count = m - first < block ? m - first : block;
    RoundRows<V>(left, first, count, k, stride, rounded);
    body(LeftSide<Bf16>{rounded, stride, nullptr}, first, count);
  }
}

}  // namespace r1::kernels
