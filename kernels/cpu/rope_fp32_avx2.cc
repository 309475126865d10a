#include "kernels/cpu/rope_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void RopeFp32Avx2(const RopeArgs& args) { RopeFp32<Avx2>(args); }

}  // namespace r1::kernels
