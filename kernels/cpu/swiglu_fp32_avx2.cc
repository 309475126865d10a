#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/swiglu_fp32.h"

namespace r1::kernels {

void SwigluFp32Avx2(const SwigluArgs& args) { SwigluFp32<Avx2>(args); }

}  // namespace r1::kernels
