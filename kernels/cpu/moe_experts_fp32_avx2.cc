#include "kernels/cpu/moe_experts_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void MoeExpertsFp32Avx2(const MoeExpertsArgs& args) { MoeExpertsFp32<Avx2>(args); }
void MoeCombineFp32Avx2(const MoeCombineArgs& args) { MoeCombineFp32<Avx2>(args); }

}  // namespace r1::kernels
