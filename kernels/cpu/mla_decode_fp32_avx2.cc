#include "kernels/cpu/mla_decode_fp32.h"
#include "kernels/cpu/simd_avx2.h"

namespace r1::kernels {

void MlaDecodeFp32Avx2(const MlaDecodeArgs& args) { MlaDecodeFp32<Avx2>(args); }

}  // namespace r1::kernels
