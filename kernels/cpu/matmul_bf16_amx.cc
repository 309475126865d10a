#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/simd_amx_bf16.h"

namespace r1::kernels {

void MatmulBf16Amx(const MatmulArgs& args) { MatmulFp32<AmxBf16>(args); }

}  // namespace r1::kernels
