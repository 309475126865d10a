#include "kernels/rms_norm.h"

#include <cmath>

namespace r1::kernels {

void RmsNormReference(const RmsNormArgs& args) {
  for (int row = 0; row < args.row_count; ++row) {
    const float* x = args.x + (args.rows ? args.rows[row] : row) * args.x_stride;
    float* y = args.y + row * args.y_stride;
    float squares = 0;
    for (int c = 0; c < args.columns; ++c) squares += x[c] * x[c];
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(args.columns) + args.eps);
    for (int c = 0; c < args.columns; ++c) y[c] = x[c] * scale * args.weight[c];
  }
}

}  // namespace r1::kernels
