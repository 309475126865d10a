#include "kernels/cpu/gqa_decode_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void GqaDecodeFp32Avx2(const GqaDecodeArgs& args) { GqaDecodeFp32<Avx2>(args); }

}  // namespace r1::kernels
