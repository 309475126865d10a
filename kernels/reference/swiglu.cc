#include "kernels/swiglu.h"

#include <cmath>

#include "kernels/matmul.h"

namespace r1::kernels {

void SwigluReference(const SwigluArgs& args) {
  for (int m = 0; m < args.m; ++m) {
    const float* x = args.x + (args.rows ? args.rows[m] : m) * args.x_stride;
    for (int i = 0; i < args.w.intermediate; ++i) {
      const int64_t panel_weights = int64_t{args.w.k} * kPanelColumns;
      const Panels gates = args.w.panels.From(i / kPanelColumns * 2 * panel_weights);
      const Panels ups = gates.From(panel_weights);
      float gate = 0;
      float up = 0;
      for (int k = 0; k < args.w.k; ++k) {
        gate += x[k] * gates.At(k, i % kPanelColumns);
        up += x[k] * ups.At(k, i % kPanelColumns);
      }
      if (args.gate_bias != nullptr) gate += args.gate_bias[i];
      if (args.up_bias != nullptr) up += args.up_bias[i];
      args.y[m * args.y_stride + i] = gate / (1.0f + std::exp(-gate)) * up;
    }
  }
}

}  // namespace r1::kernels
