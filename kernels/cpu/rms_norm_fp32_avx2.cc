#include "kernels/cpu/rms_norm_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void RmsNormFp32Avx2(const RmsNormArgs& args) { RmsNormFp32<Avx2>(args); }

}  // namespace r1::kernels
