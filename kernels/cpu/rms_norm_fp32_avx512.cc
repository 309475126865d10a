#include "kernels/cpu/rms_norm_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void RmsNormFp32Avx512(const RmsNormArgs& args) { RmsNormFp32<Avx512>(args); }

}  // namespace r1::kernels
