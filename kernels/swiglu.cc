#include "kernels/swiglu.h"

#include <algorithm>

#include "kernels/matmul.h"

namespace r1::kernels {

int64_t PackedGateUpFloats(int intermediate, int k) { return 2 * PackedFloats(intermediate, k); }

void PackGateUp(const float* gate, const float* up, int intermediate, int k, float* panels) {
  const int64_t panel_floats = PackedFloats(kPanelColumns, k);
  for (int first = 0; first < intermediate; first += kPanelColumns) {
    const int columns = std::min(kPanelColumns, intermediate - first);
    PackMatrix(gate + int64_t{first} * k, k, columns, k, panels);
    PackMatrix(up + int64_t{first} * k, k, columns, k, panels + panel_floats);
    panels += 2 * panel_floats;
  }
}

}  // namespace r1::kernels
