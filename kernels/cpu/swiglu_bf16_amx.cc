#include "kernels/cpu/simd_amx_bf16.h"
#include "kernels/cpu/swiglu_fp32.h"

namespace r1::kernels {

void SwigluBf16Amx(const SwigluArgs& args) { SwigluFp32<AmxBf16>(args); }

}  // namespace r1::kernels
