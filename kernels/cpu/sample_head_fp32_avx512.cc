#include "kernels/cpu/sample_head_fp32.h"
#include "kernels/cpu/simd_avx512.h"

namespace r1::kernels {

void SampleHeadFp32Avx512(const SampleHeadArgs& args) { SampleHeadFp32<Avx512>(args); }

void ScanVocabFp32Avx512(const SampleHeadArgs& args, int chunk_begin, int chunk_end) {
  ScanVocabFp32<Avx512>(args, chunk_begin, chunk_end);
}

void DrawTokensFp32Avx512(const SampleHeadArgs& args) { DrawTokensFp32<Avx512>(args); }

}  // namespace r1::kernels
