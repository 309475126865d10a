#include "kernels/bench/fma_loop.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

float FmaLoopAvx512(int64_t iterations) { return FmaLoop<Avx512>(iterations); }

}  // namespace r1::kernels
