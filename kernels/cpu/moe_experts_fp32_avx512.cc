#include "kernels/cpu/moe_experts_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void MoeExpertsFp32Avx512(const MoeExpertsArgs& args) { MoeExpertsFp32<Avx512>(args); }
void MoeCombineFp32Avx512(const MoeCombineArgs& args) { MoeCombineFp32<Avx512>(args); }

}  // namespace r1::kernels
