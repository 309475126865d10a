#include "kernels/cpu/moe_router_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void MoeRouterFp32Avx2(const MoeRouterArgs& args) { MoeRouterFp32<Avx2>(args); }

}  // namespace r1::kernels
