#include "kernels/cpu/mla_decode_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void MlaDecodeFp32Avx512(const MlaDecodeArgs& args) { MlaDecodeFp32<Avx512>(args); }

}  // namespace r1::kernels
