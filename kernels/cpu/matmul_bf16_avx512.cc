#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/simd_avx512_bf16.h"

namespace r1::kernels {

void MatmulBf16Avx512(const MatmulArgs& args) { MatmulFp32<Avx512Bf16>(args); }

}  // namespace r1::kernels
