#include "kernels/cpu/sample_head_fp32.h"
#include "kernels/cpu/simd_amx_bf16.h"

namespace r1::kernels {

void SampleHeadBf16Amx(const SampleHeadArgs& args) { SampleHeadFp32<AmxBf16>(args); }

void ScanVocabBf16Amx(const SampleHeadArgs& args, int chunk_begin, int chunk_end) {
  ScanVocabFp32<AmxBf16>(args, chunk_begin, chunk_end);
}

void DrawTokensBf16Amx(const SampleHeadArgs& args) { DrawTokensFp32<AmxBf16>(args); }

}  // namespace r1::kernels
