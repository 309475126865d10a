#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void MatmulFp32Avx2(const MatmulArgs& args) { MatmulFp32<Avx2>(args); }

}  // namespace r1::kernels
