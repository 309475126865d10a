#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void MatmulFp32Avx512(const MatmulArgs& args) { MatmulFp32<Avx512>(args); }

}  // namespace r1::kernels
