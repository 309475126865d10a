// Products in tiles (matmul.h): blocks of up to 32 rows and two panels in the tile registers of
// AMX. For vector types with kHasTiles, whose V::Tiles holds the instructions:
//   Configure(config)                  Release()
//   Load<tile>(rows, stride_bytes)     Store<tile>(rows, stride_bytes)
//   Clear<tile>()                      AddProducts<sums, left, right>()
// A tile register holds 16 rows of 64 bytes: 16 fp32 sums a row, 32 numbers in bf16 of a row of the
// left side, or of a panel one pair in k of each column. That is how panels lie in memory.
#pragma once

#include <cstdint>

#include "kernels/cpu/tile_bf16.h"
#include "kernels/cpu/tile_fp32.h"
#include "kernels/matmul.h"
#include "kernels/panels.h"

namespace r1::kernels {

inline constexpr int kTileHeight = 16;  // rows
inline constexpr int kTileRowBytes = 64;

// What ldtilecfg reads: the sizes of palette 1's eight tile registers, and room for eight more.
struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// The tile registers of a product: 0 to 3 are sums of two blocks of rows by two panels, 4 and 5 the
// blocks' left side, all as high as a block; 6 and 7 are the panels.
template <class Tiles>
void ConfigureTiles(int height) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = kTileRowBytes;
    config.rows[tile] = static_cast<uint8_t>(tile < 6 ? height : kTileHeight);
  }
  Tiles::Configure(config);
}

// Rows of a left side, rounded to bf16, for tile registers; behind row m - 1 there are enough of
// them for a whole tile.
struct LeftTiles {
  const Bf16* x;
  int64_t stride;
  int m;
};

template <class V>
struct TileShape<V, LeftTiles> {
  static constexpr bool kFixedRows = false;
  static constexpr int kRows = 2 * kTileHeight;
  static constexpr int kPanels = 2;
};

// As many rows as a product handles best at a time.
template <class V>
inline constexpr int kProductRows = V::kHasTiles ? TileShape<V, LeftTiles>::kRows : V::kTileRows;

// kBlocks blocks of 16 rows, or one lower one, from `x` on.
template <class V, int kBlocks, int kRows, int kPanels>
[[gnu::always_inline]] inline void MultiplyBlocks(const Bf16* x, int64_t stride,
                                                  TilePanels<Bf16> weights, int k,
                                                  typename V::F (&sums)[kRows][kPanels]) {
  using T = typename V::Tiles;
  constexpr bool kTwoBlocks = kBlocks == 2;
  constexpr bool kTwoPanels = kPanels == 2;
  const int64_t stride_bytes = stride * static_cast<int64_t>(sizeof(Bf16));
  const int64_t panel_weights = int64_t{k} * kPanelColumns;
  T::template Clear<0>();
  if constexpr (kTwoPanels) T::template Clear<1>();
  if constexpr (kTwoBlocks) T::template Clear<2>();
  if constexpr (kTwoBlocks && kTwoPanels) T::template Clear<3>();
  const Bf16* panels = weights.panels;
  const Bf16* next[kPanels];
  for (int p = 0; p < kPanels; ++p) next[p] = weights.next + p * panel_weights;
  for (int i = 0; i < k; i += kTileDepth) {
    T::template Load<4>(x + i, stride_bytes);
    T::template Load<6>(panels, kTileRowBytes);
    T::template AddProducts<0, 4, 6>();
    if constexpr (kTwoPanels) {
      T::template Load<7>(panels + panel_weights, kTileRowBytes);
      T::template AddProducts<1, 4, 7>();
    }
    if constexpr (kTwoBlocks) {
      T::template Load<5>(x + kTileHeight * stride + i, stride_bytes);
      T::template AddProducts<2, 5, 6>();
      if constexpr (kTwoPanels) T::template AddProducts<3, 5, 7>();
    }
    for (int p = 0; p < kPanels; ++p) {  // as in tile_bf16.h
      for (int pair = 0; pair < kTileDepth / 2; ++pair, next[p] += 2 * kPanelColumns) {
        __builtin_prefetch(next[p], 0, kSecondLevel);
      }
    }
    panels += kTileDepth * kPanelColumns;
  }
  constexpr int64_t kSumsBytes = sizeof(sums[0]);
  static_assert(kSumsBytes == kPanels * kTileRowBytes);
  T::template Store<0>(&sums[0][0], kSumsBytes);
  if constexpr (kTwoPanels) T::template Store<1>(&sums[0][1], kSumsBytes);
  if constexpr (kTwoBlocks) T::template Store<2>(&sums[kTileHeight][0], kSumsBytes);
  if constexpr (kTwoBlocks && kTwoPanels) T::template Store<3>(&sums[kTileHeight][1], kSumsBytes);
}

// tile_fp32.h's MultiplyTile, for min(kRows, left.m - first) rows. One block's sums are two chains,
// which do not hide the latency of an instruction: but few rows wait for memory.
template <class V, int kRows, int kPanels>
[[gnu::always_inline]] inline void MultiplyTile(const LeftTiles& left, int first,
                                                TilePanels<Bf16> weights, int k,
                                                typename V::F (&sums)[kRows][kPanels]) {
  const Bf16* x = left.x + first * left.stride;
  if (left.m - first > kTileHeight) {
    MultiplyBlocks<V, 2>(x, left.stride, weights, k, sums);
  } else {
    MultiplyBlocks<V, 1>(x, left.stride, weights, k, sums);
  }
}

// ForRoundedRows for tile registers. A block is 16 rows high, or lower where there are fewer rows
// or none but very long ones.
template <class V, class Body>
void ForRoundedTiles(const LeftSide<float>& left, int m, int k, const Body& body) {
  // An odd number of cache lines a row, so that 16 rows do not compete for the same few places in
  // the first-level cache.
  alignas(64) Bf16 rounded[kInputsMax + 64 * kTileDepth];
  const int stride = (k / kTileDepth | 1) * kTileDepth;
  const int fitting = static_cast<int>(sizeof(rounded) / sizeof(Bf16)) / stride;
  int height = fitting < kTileHeight ? fitting : kTileHeight;
  if (height > m) height = m;
  ConfigureTiles<typename V::Tiles>(height);
  const int block = fitting / height * height;
  for (int first = 0; first < m; first += block) {
    const int count = m - first < block ? m - first : block;
    RoundRows<V>(left, first, count, k, stride, rounded);
    const int rows = (count + height - 1) / height * height;
    for (int64_t i = int64_t{count} * stride; i < int64_t{rows} * stride; ++i) rounded[i] = Bf16{};
    body(LeftTiles{rounded, stride, count}, first, count);
  }
  V::Tiles::Release();  // an idle thread holds none, which makes it cheaper to switch
}

// ForRoundedRows in the way of V for K numbers a row. By nothing else, so that a row's bits do not
// depend on other rows.
template <class V, class Body>
void ForRoundedLeft(const LeftSide<float>& left, int m, int k, const Body& body) {
  if constexpr (V::kHasTiles) {
    if (k % kTileDepth == 0) return ForRoundedTiles<V>(left, m, k, body);
  }
  ForRoundedRows<V>(left, m, k, body);
}

}  // namespace r1::kernels
