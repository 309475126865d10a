#include "kernels/bench/fma_loop.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

float FmaLoopAvx2(int64_t iterations) { return FmaLoop<Avx2>(iterations); }

}  // namespace r1::kernels
