#include "kernels/cpu/moe_router_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void MoeRouterFp32Avx512(const MoeRouterArgs& args) { MoeRouterFp32<Avx512>(args); }

}  // namespace r1::kernels
