#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/simd_math.h"
#include "tests/kernels/exp_under_test.h"

namespace r1::kernels {

void ExpUnderTestAvx512(const float* x, int64_t count, float* y) {
  for (int64_t i = 0; i < count; i += 16) Avx512::Store(y + i, Exp<Avx512>(Avx512::Load(x + i)));
}

}  // namespace r1::kernels
