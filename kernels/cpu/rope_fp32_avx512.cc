#include "kernels/cpu/rope_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void RopeFp32Avx512(const RopeArgs& args) { RopeFp32<Avx512>(args); }

}  // namespace r1::kernels
