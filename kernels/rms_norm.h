// Root-mean-square normalisation (1910.07467): y = x / sqrt(mean(x^2) + eps) * weight.
//
// Rounding: fp32; squares are summed in 16 lanes (lane i takes the columns that are i modulo 16),
// then lane i with i + 8, i + 4, i + 2, i + 1. A row's bits do not depend on other rows.
#pragma once

#include <cstdint>

namespace r1::kernels {

struct RmsNormArgs {
  const float* x = nullptr;  // [*, columns], rows x_stride apart
  int64_t x_stride = 0;
  const int32_t* rows = nullptr;  // row of x for each row of y; null: 0, 1, 2, …
  const float* weight = nullptr;  // [columns]
  float* y = nullptr;             // [row_count, columns]; may be x itself when `rows` is null
  int64_t y_stride = 0;
  int row_count = 0;
  int columns = 0;
  float eps = 0;
};

void RmsNormReference(const RmsNormArgs& args);
void RmsNormFp32Avx2(const RmsNormArgs& args);
void RmsNormFp32Avx512(const RmsNormArgs& args);

}  // namespace r1::kernels
