#include "kernels/cpu/moe_experts_fp32.h"
#include "kernels/cpu/simd_avx512_bf16.h"

namespace r1::kernels {

void MoeExpertsBf16Avx512(const MoeExpertsArgs& args) { MoeExpertsFp32<Avx512Bf16>(args); }

}  // namespace r1::kernels
