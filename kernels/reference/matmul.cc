#include "kernels/matmul.h"

#include <bit>
#include <cmath>

#include "common/dtype.h"

namespace r1::kernels {
namespace {

float WithoutDenormal(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? 0.0f * x : x; }

float RoundToBf16(float x) { return Widen(Bf16{FloatToBf16(WithoutDenormal(x))}); }

// One product of a pair: operands and sum without denormals.
float AddProduct(float x, float w, float sum) {
  return WithoutDenormal(std::fma(WithoutDenormal(x), WithoutDenormal(w), sum));
}

// dot(x, w, column) is the product of a row with a column of the panel w.
template <class Dot>
void MatmulOf(const MatmulArgs& args, const Dot& dot) {
  for (int m = 0; m < args.m; ++m) {
    const float* x = args.x + (args.rows ? args.rows[m] : m) * args.x_stride;
    for (int n = 0; n < args.w.n; ++n) {
      const Panels w = args.w.panels.From(int64_t{n / kPanelColumns} * kPanelColumns * args.w.k);
      float sum = dot(x, w, n % kPanelColumns);
      if (args.bias != nullptr) sum += args.bias[n];
      float& y = args.y[m * args.y_stride + n];
      y = args.accumulate ? y + sum : sum;
    }
  }
}

}  // namespace

void MatmulReference(const MatmulArgs& args) {
  MatmulOf(args, [&args](const float* x, const Panels& w, int column) {
    float sum = 0;
    for (int k = 0; k < args.w.k; ++k) sum += x[k] * w.At(k, column);
    return sum;
  });
}

void MatmulBf16Reference(const MatmulArgs& args) {
  MatmulOf(args, [&args](const float* x, const Panels& w, int column) {
    float sum = 0;
    for (int k = 0; k < args.w.k; k += 2) {
      sum = AddProduct(RoundToBf16(x[k + 1]), w.At(k + 1, column), sum);
      sum = AddProduct(RoundToBf16(x[k]), w.At(k, column), sum);
    }
    return sum;
  });
}

void MatmulBf16TilesReference(const MatmulArgs& args) {
  if (args.w.k % kTileDepth != 0) return MatmulBf16Reference(args);
  MatmulOf(args, [&args](const float* x, const Panels& w, int column) {
    float sum = 0;
    for (int first = 0; first < args.w.k; first += kTileDepth) {
      float even = 0;
      float odd = 0;
      for (int k = first; k < first + kTileDepth; k += 2) {
        even = AddProduct(RoundToBf16(x[k]), w.At(k, column), even);
        odd = AddProduct(RoundToBf16(x[k + 1]), w.At(k + 1, column), odd);
      }
      sum = WithoutDenormal(sum + WithoutDenormal(even + odd));
    }
    return sum;
  });
}

}  // namespace r1::kernels
