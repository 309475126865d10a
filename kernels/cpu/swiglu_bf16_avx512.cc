#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/swiglu_fp32.h"

namespace r1::kernels {

void SwigluBf16Avx512(const SwigluArgs& args) { SwigluFp32<Avx512Bf16>(args); }

}  // namespace r1::kernels
