#include "kernels/matmul.h"

#include "common/dtype.h"

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

void RoundPanels(const float* weights, int64_t count, Bf16* rounded) {
  for (int64_t i = 0; i < count; ++i) rounded[i] = Bf16{FloatToBf16(weights[i])};
}

}  // namespace r1::kernels
