// rope.h on the vectors of simd_*.h.
#pragma once

#include <cstdint>

#include "kernels/rope.h"

namespace r1::kernels {

template <class V>
void RopeInterleavedFp32(const float* x, const float* cos, const float* sin, int dim, float* y) {
  for (int c = 0; c < dim; c += 16) {
    const int lanes = dim - c < 16 ? dim - c : 16;
    const typename V::F value = V::LoadFirst(x + c, lanes);
    const typename V::F turned = V::Mul(V::SwapPairs(value), V::LoadFirst(sin + c, lanes));
    V::StoreFirst(y + c, V::MulAdd(value, V::LoadFirst(cos + c, lanes), turned), lanes);
  }
}

// Channels [first, first + half) of the result; their partners start at `partner`.
template <class V>
void RopeHalfFp32(const float* x, const float* cos, const float* sin, int first, int partner,
                  int half, float* y) {
  for (int c = 0; c < half; c += 16) {
    const int lanes = half - c < 16 ? half - c : 16;
    const typename V::F turned =
        V::Mul(V::LoadFirst(x + partner + c, lanes), V::LoadFirst(sin + first + c, lanes));
    const typename V::F value = V::LoadFirst(x + first + c, lanes);
    V::StoreFirst(y + first + c, V::MulAdd(value, V::LoadFirst(cos + first + c, lanes), turned),
                  lanes);
  }
}

template <class V>
void RopeFp32(const RopeArgs& args) {
  const int dim = args.dim;
  for (int row = 0; row < args.row_count; ++row) {
    const float* cos = args.table + int64_t{2} * dim * args.positions[row];
    const float* sin = cos + dim;
    for (int head = 0; head < args.heads; ++head) {
      const float* x = args.x + row * args.x_stride + head * args.x_head_stride;
      float* y = args.y + row * args.y_stride + head * args.y_head_stride;
      if (args.interleaved) {
        RopeInterleavedFp32<V>(x, cos, sin, dim, y);
      } else {
        RopeHalfFp32<V>(x, cos, sin, 0, dim / 2, dim / 2, y);
        RopeHalfFp32<V>(x, cos, sin, dim / 2, 0, dim / 2, y);
      }
    }
  }
}

}  // namespace r1::kernels
