#include "kernels/rope.h"

namespace r1::kernels {

void RopeReference(const RopeArgs& args) {
  for (int row = 0; row < args.row_count; ++row) {
    const float* cos = args.table + int64_t{2} * args.dim * args.positions[row];
    const float* sin = cos + args.dim;
    for (int head = 0; head < args.heads; ++head) {
      const float* x = args.x + row * args.x_stride + head * args.x_head_stride;
      float* y = args.y + row * args.y_stride + head * args.y_head_stride;
      for (int c = 0; c < args.dim; ++c) {
        const int partner = args.interleaved ? c ^ 1 : (c + args.dim / 2) % args.dim;
        y[c] = x[c] * cos[c] + x[partner] * sin[c];
      }
    }
  }
}

}  // namespace r1::kernels
