// Matrix product for the shapes of a learner on a CPU: thousands of rows times weights that fit in
// a cache. Included once by each cpu_kernels_<isa>.cc.
//
// B is packed block by block into panels as wide as the register tile; A is read where it lies.
// Against LibTorch's library product this saves the packing of A and a pass that clears C, a third
// of its time at widths around 100. Every element of C is the sum over blocks of kDepthBlock of
// fused multiply-adds in order of depth, so its bits depend on neither the other rows nor the
// instruction set, as long as that has a fused multiply-add.
#pragma once

#include <algorithm>

#include "learner/policy/cpu_kernels.h"
#include "learner/policy/simd.h"

namespace r1::learner::R1_SIMD_NAMESPACE {

// A matrix in somebody's memory: element (i, j) is data[i * row + j * column].
struct MatrixView {
  const float* data;
  int64_t row;
  int64_t column;
};

// sums = a[kRows, depth] b[depth, kVecs * kLanes].
template <int kRows, int kVecs>
inline void MultiplyTile(const MatrixView& a, const float* b, int64_t b_row, int64_t depth,
                         Vec (&sums)[kRows][kVecs]) {
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVecs; ++v) sums[i][v] = Vec{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[kVecs];
    for (int v = 0; v < kVecs; ++v) right[v] = Load(b + k * b_row + v * kLanes);
    for (int i = 0; i < kRows; ++i) {
      const Vec left = Set(a.data[i * a.row + k * a.column]);
      for (int v = 0; v < kVecs; ++v) sums[i][v] = Fma(left, right[v], sums[i][v]);
    }
  }
}

// Rows of a tile: as many accumulators as the registers hold beside one row of B.
constexpr int kTileRows = R1_SIMD_BYTES == 64 ? 8 : R1_SIMD_BYTES == 32 ? 6 : 4;
constexpr int64_t kPanel = 2 * kLanes;
constexpr int64_t kDepthBlock = 128;
constexpr int64_t kColumnBlock = 128;
static_assert(kColumnBlock % kPanel == 0);

// c = initial + a b for one panel of columns. B is read where it lies, in rows of whole vectors.
struct PanelProduct {
  MatrixView a;
  const float* b;
  int64_t b_row;
  int64_t depth;
  const float* initial;  // null = zeros; may be c
  int64_t initial_row;
  float* c;
  int64_t c_row;
  int64_t columns;  // at most kPanel
};

template <int kRows, int kVecs>
inline void MultiplyRowsBy(const PanelProduct& p, int64_t row) {
  Vec sums[kRows][kVecs];
  MultiplyTile<kRows, kVecs>({p.a.data + row * p.a.row, p.a.row, p.a.column}, p.b, p.b_row, p.depth,
                             sums);
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVecs; ++v) {
      const int64_t lanes = std::min<int64_t>(kLanes, p.columns - v * kLanes);
      if (p.initial != nullptr) {
        sums[i][v] += Load(p.initial + (row + i) * p.initial_row + v * kLanes, lanes);
      }
      Store(p.c + (row + i) * p.c_row + v * kLanes, sums[i][v], lanes);
    }
  }
}

// Rows [row, row + count), at most one tile of them.
template <int kRows = kTileRows>
inline void MultiplyRows(const PanelProduct& p, int64_t row, int64_t count) {
  if (count < kRows) {
    if constexpr (kRows > 1) MultiplyRows<kRows - 1>(p, row, count);
  } else if (p.columns > kLanes) {
    MultiplyRowsBy<kRows, 2>(p, row);
  } else {
    MultiplyRowsBy<kRows, 1>(p, row);
  }
}

// packed[panel][depth][kPanel] of the block of B at (depth, column); columns that B lacks are zero.
inline void PackBlock(const GemmArgs& args, int64_t first_depth, int64_t depth,
                      int64_t first_column, int64_t columns, float* packed) {
  for (int64_t panel = 0; panel < columns; panel += kPanel) {
    const int64_t width = std::min(kPanel, columns - panel);
    float* target = packed + panel * depth;
    if (!args.b_transposed) {
      for (int64_t k = 0; k < depth; ++k) {
        const float* source = args.b + (first_depth + k) * args.b_row + first_column + panel;
        for (int64_t j = 0; j < kPanel; j += kLanes) {
          const int64_t lanes = std::clamp<int64_t>(width - j, 0, kLanes);
          Store(target + k * kPanel + j, lanes > 0 ? Load(source + j, lanes) : Vec{});
        }
      }
      continue;
    }
    const float* source = args.b + (first_column + panel) * args.b_row + first_depth;
    int64_t k = 0;
    if (width == kPanel) {
      for (; k + kLanes <= depth; k += kLanes) {
        for (int64_t j = 0; j < kPanel; j += kLanes) {
          TransposeBlock(source + j * args.b_row + k, args.b_row, target + k * kPanel + j, kPanel);
        }
      }
    }
    for (; k < depth; ++k) {
      for (int64_t j = 0; j < kPanel; ++j)
        target[k * kPanel + j] = j < width ? source[j * args.b_row + k] : 0.0f;
    }
  }
}

inline void Gemm(const GemmArgs& args) {
  alignas(64) float packed[kDepthBlock * kColumnBlock];
  for (int64_t column = 0; column < args.columns; column += kColumnBlock) {
    const int64_t columns = std::min(kColumnBlock, args.columns - column);
    for (int64_t first = 0; first < args.depth; first += kDepthBlock) {
      const int64_t depth = std::min(kDepthBlock, args.depth - first);
      PackBlock(args, first, depth, column, columns, packed);
      const float* initial = first == 0 ? args.initial : args.c;
      const int64_t initial_row = first == 0 ? args.initial_row : args.c_row;
      for (int64_t row = 0; row < args.rows; row += kTileRows) {
        const int64_t rows = std::min<int64_t>(kTileRows, args.rows - row);
        for (int64_t panel = 0; panel < columns; panel += kPanel) {
          MultiplyRows({.a = {args.a + first * args.a_column, args.a_row, args.a_column},
                        .b = packed + panel * depth,
                        .b_row = kPanel,
                        .depth = depth,
                        .initial = initial == nullptr ? nullptr : initial + column + panel,
                        .initial_row = initial_row,
                        .c = args.c + column + panel,
                        .c_row = args.c_row,
                        .columns = std::min(kPanel, columns - panel)},
                       row, rows);
        }
      }
    }
  }
}

}  // namespace r1::learner::R1_SIMD_NAMESPACE
