#include "kernels/matmul.h"

#include "common/dtype.h"
#include "common/status.h"

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

void RoundPanels(const float* panels, int64_t weights, Bf16* rounded) {
  constexpr int64_t kPair = 2 * kPanelColumns;
  R1_CHECK(weights % kPair == 0);
  for (int64_t first = 0; first < weights; first += kPair) {
    for (int64_t i = 0; i < kPair; ++i) {
      rounded[first + i] = Bf16{FloatToBf16(panels[first + i % 2 * kPanelColumns + i / 2])};
    }
  }
}

}  // namespace r1::kernels
