#include "kernels/matmul.h"

namespace r1::kernels {

void MatmulReference(const MatmulArgs& args) {
  for (int m = 0; m < args.m; ++m) {
    const float* x = args.x + (args.rows ? args.rows[m] : m) * args.x_stride;
    for (int n = 0; n < args.w.n; ++n) {
      const Panels w = args.w.panels.From(int64_t{n / kPanelColumns} * kPanelColumns * args.w.k);
      float sum = 0;
      for (int k = 0; k < args.w.k; ++k) sum += x[k] * w.At(k, n % kPanelColumns);
      if (args.bias != nullptr) sum += args.bias[n];
      float& y = args.y[m * args.y_stride + n];
      y = args.accumulate ? y + sum : sum;
    }
  }
}

}  // namespace r1::kernels
