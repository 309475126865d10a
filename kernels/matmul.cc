#include "kernels/matmul.h"

namespace r1::kernels {

int64_t PackedFloats(int n, int k) {
  return int64_t{n + kPanelColumns - 1} / kPanelColumns * kPanelColumns * k;
}

void PackMatrix(const float* w, int64_t stride, int n, int k, float* panels) {
  for (int first = 0; first < n; first += kPanelColumns) {
    for (int i = 0; i < k; ++i) {
      for (int column = first; column < first + kPanelColumns; ++column) {
        *panels++ = column < n ? w[column * stride + i] : 0.0f;
      }
    }
  }
}

}  // namespace r1::kernels
