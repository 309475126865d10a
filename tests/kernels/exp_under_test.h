// The kernels' e^x on arrays, one function an instruction set, so that a test can look at every
// value.
#pragma once

#include <cstdint>

namespace r1::kernels {

// count is a multiple of 16.
void ExpUnderTestAvx2(const float* x, int64_t count, float* y);
void ExpUnderTestAvx512(const float* x, int64_t count, float* y);

}  // namespace r1::kernels
