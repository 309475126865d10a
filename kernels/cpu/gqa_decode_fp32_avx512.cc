#include "kernels/cpu/gqa_decode_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void GqaDecodeFp32Avx512(const GqaDecodeArgs& args) { GqaDecodeFp32<Avx512>(args); }

}  // namespace r1::kernels
