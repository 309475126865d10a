#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/swiglu_fp32.h"

namespace r1::kernels {

void SwigluFp32Avx512(const SwigluArgs& args) { SwigluFp32<Avx512>(args); }

}  // namespace r1::kernels
