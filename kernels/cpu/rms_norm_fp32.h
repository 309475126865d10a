// rms_norm.h on the vectors of simd_*.h.
#pragma once

#include "kernels/rms_norm.h"

namespace r1::kernels {

template <class V>
void RmsNormFp32(const RmsNormArgs& args) {
  const int whole = args.columns / 16 * 16;
  const int rest = args.columns - whole;
  for (int row = 0; row < args.row_count; ++row) {
    const float* x = args.x + (args.rows ? args.rows[row] : row) * args.x_stride;
    float* y = args.y + row * args.y_stride;
    typename V::F squares = V::Zero();
    for (int c = 0; c < whole; c += 16) {
      const typename V::F value = V::Load(x + c);
      squares = V::MulAdd(value, value, squares);
    }
    if (rest > 0) {
      const typename V::F value = V::LoadFirst(x + whole, rest);
      squares = V::MulAdd(value, value, squares);
    }
    const float mean = V::ReduceAdd(squares) / static_cast<float>(args.columns);
    const typename V::F scale = V::Set1(1.0f / __builtin_sqrtf(mean + args.eps));
    for (int c = 0; c < whole; c += 16) {
      V::Store(y + c, V::Mul(V::Mul(V::Load(x + c), scale), V::Load(args.weight + c)));
    }
    if (rest > 0) {
      const typename V::F value = V::Mul(V::LoadFirst(x + whole, rest), scale);
      V::StoreFirst(y + whole, V::Mul(value, V::LoadFirst(args.weight + whole, rest)), rest);
    }
  }
}

}  // namespace r1::kernels
