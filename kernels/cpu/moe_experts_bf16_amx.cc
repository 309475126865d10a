#include "kernels/cpu/moe_experts_fp32.h"
#include "kernels/cpu/simd_amx_bf16.h"

namespace r1::kernels {

void MoeExpertsBf16Amx(const MoeExpertsArgs& args) { MoeExpertsFp32<AmxBf16>(args); }

}  // namespace r1::kernels
