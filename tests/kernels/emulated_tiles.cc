#include "tests/kernels/emulated_tiles.h"

#include <cmath>
#include <cstring>

#include "common/status.h"

namespace r1::kernels {
namespace {

constexpr int kTiles = 8;

struct Tile {
  int rows = 0;
  int row_bytes = 0;
  alignas(64) uint8_t data[kTileHeight][kTileRowBytes] = {};
};
thread_local Tile t_tiles[kTiles];
thread_local bool t_is_configured = false;

Tile& UsableTile(int tile) {
  R1_CHECK(t_is_configured);
  R1_CHECK(tile >= 0 && tile < kTiles);
  R1_CHECK(t_tiles[tile].rows > 0);
  return t_tiles[tile];
}

// The number in bf16 at `index` of a row.
float Bf16At(const uint8_t* row, int index) {
  Bf16 value;
  std::memcpy(&value, row + index * sizeof(value), sizeof(value));
  return Widen(value);
}

float WithoutDenormal(float x) { return std::abs(x) < 0x1p-126f ? 0.0f * x : x; }

}  // namespace

void EmulatedTiles::Configure(const TileConfig& config) {
  R1_CHECK(config.palette == 1);
  R1_CHECK(config.start_row == 0);
  for (const uint8_t byte : config.reserved) R1_CHECK(byte == 0);
  for (int tile = 0; tile < 16; ++tile) {
    R1_CHECK(config.rows[tile] <= (tile < kTiles ? kTileHeight : 0));
    R1_CHECK(config.row_bytes[tile] <= (tile < kTiles ? kTileRowBytes : 0));
    R1_CHECK((config.rows[tile] == 0) == (config.row_bytes[tile] == 0));
    if (tile >= kTiles) continue;
    t_tiles[tile] = Tile();
    t_tiles[tile].rows = config.rows[tile];
    t_tiles[tile].row_bytes = config.row_bytes[tile];
  }
  t_is_configured = true;
}

void EmulatedTiles::Release() { t_is_configured = false; }

bool EmulatedTiles::IsConfigured() { return t_is_configured; }

void EmulatedTiles::ClearTile(int tile) {
  std::memset(UsableTile(tile).data, 0, sizeof(Tile::data));
}

void EmulatedTiles::LoadTile(int tile, const void* rows, int64_t stride_bytes) {
  ClearTile(tile);
  Tile& target = UsableTile(tile);
  for (int row = 0; row < target.rows; ++row) {
    std::memcpy(target.data[row], static_cast<const uint8_t*>(rows) + row * stride_bytes,
                target.row_bytes);
  }
}

void EmulatedTiles::StoreTile(int tile, void* rows, int64_t stride_bytes) {
  const Tile& source = UsableTile(tile);
  for (int row = 0; row < source.rows; ++row) {
    std::memcpy(static_cast<uint8_t*>(rows) + row * stride_bytes, source.data[row],
                source.row_bytes);
  }
}

void EmulatedTiles::AddTileProducts(int sums, int left, int right) {
  R1_CHECK(sums != left);
  R1_CHECK(sums != right);
  R1_CHECK(left != right);
  Tile& c = UsableTile(sums);
  const Tile& a = UsableTile(left);
  const Tile& b = UsableTile(right);
  R1_CHECK(a.rows == c.rows);
  R1_CHECK(b.row_bytes == c.row_bytes);
  R1_CHECK(a.row_bytes == 4 * b.rows);
  const int columns = c.row_bytes / 4;
  for (int m = 0; m < c.rows; ++m) {
    float chains[2 * kPanelColumns] = {};  // of a column's even numbers in k, and of the odd ones
    for (int pair = 0; pair < b.rows; ++pair) {
      const float x[2] = {WithoutDenormal(Bf16At(a.data[m], 2 * pair)),
                          WithoutDenormal(Bf16At(a.data[m], 2 * pair + 1))};
      for (int i = 0; i < 2 * columns; ++i) {
        const float w = WithoutDenormal(Bf16At(b.data[pair], i));
        chains[i] = WithoutDenormal(std::fma(x[i % 2], w, chains[i]));
      }
    }
    for (int n = 0; n < columns; ++n) {
      float sum;
      std::memcpy(&sum, &c.data[m][4 * n], sizeof(sum));
      const float addend = WithoutDenormal(chains[2 * n] + chains[2 * n + 1]);
      sum = WithoutDenormal(WithoutDenormal(sum) + addend);
      std::memcpy(&c.data[m][4 * n], &sum, sizeof(sum));
    }
  }
}

}  // namespace r1::kernels
