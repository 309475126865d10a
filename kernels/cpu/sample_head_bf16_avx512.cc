#include "kernels/cpu/sample_head_fp32.h"
#include "kernels/cpu/simd_avx512_bf16.h"

namespace r1::kernels {

void SampleHeadBf16Avx512(const SampleHeadArgs& args) { SampleHeadFp32<Avx512Bf16>(args); }

void ScanVocabBf16Avx512(const SampleHeadArgs& args, int chunk_begin, int chunk_end) {
  ScanVocabFp32<Avx512Bf16>(args, chunk_begin, chunk_end);
}

void DrawTokensBf16Avx512(const SampleHeadArgs& args) { DrawTokensFp32<Avx512Bf16>(args); }

}  // namespace r1::kernels
