#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/simd_math.h"
#include "tests/kernels/exp_under_test.h"

namespace r1::kernels {

void ExpUnderTestAvx2(const float* x, int64_t count, float* y) {
  for (int64_t i = 0; i < count; i += 16) Avx2::Store(y + i, Exp<Avx2>(Avx2::Load(x + i)));
}

}  // namespace r1::kernels
