// AMX's tile registers in plain C++, one set a thread: V::Tiles of kernels/cpu/tile_amx.h with the
// sizes, the layout and the arithmetic that Intel's Software Developer's Manual (volume 2) gives
// for the instructions. Where those would fault, a check fails.
#pragma once

#include <cstdint>

#include "kernels/cpu/tile_amx.h"

namespace r1::kernels {

struct EmulatedTiles {
  static void Configure(const TileConfig& config);
  static void Release();
  static bool IsConfigured();

  // Inlined, so that no symbol is shared between instruction sets.
  template <int kTile>
  [[gnu::always_inline]] static void Clear() {
    ClearTile(kTile);
  }
  template <int kTile>
  [[gnu::always_inline]] static void Load(const void* rows, int64_t stride_bytes) {
    LoadTile(kTile, rows, stride_bytes);
  }
  template <int kTile>
  [[gnu::always_inline]] static void Store(void* rows, int64_t stride_bytes) {
    StoreTile(kTile, rows, stride_bytes);
  }
  template <int kSums, int kLeft, int kRight>
  [[gnu::always_inline]] static void AddProducts() {
    AddTileProducts(kSums, kLeft, kRight);
  }

  // The same with the number of a tile register that only a run knows.
  static void ClearTile(int tile);
  static void LoadTile(int tile, const void* rows, int64_t stride_bytes);
  static void StoreTile(int tile, void* rows, int64_t stride_bytes);
  static void AddTileProducts(int sums, int left, int right);
};

}  // namespace r1::kernels
