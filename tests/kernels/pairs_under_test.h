// Products in pairs and in tiles (matmul.h) computed without the instructions for bf16, by fused
// multiply-adds in their order: the kernels' own code on vectors that stand in for Avx512Bf16 and
// AmxBf16, so that machines without the instructions test it, and those with them test the
// instructions.
#pragma once

#include "kernels/matmul.h"
#include "kernels/moe_experts.h"
#include "kernels/sample_head.h"
#include "kernels/swiglu.h"

namespace r1::kernels {

struct PairKernels {
  const char* name;
  void (*matmul)(const MatmulArgs& args);
  void (*swiglu)(const SwigluArgs& args);
  void (*moe_experts)(const MoeExpertsArgs& args);
  void (*sample_head)(const SampleHeadArgs& args);
  void (*scan_vocab)(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
  void (*draw_tokens)(const SampleHeadArgs& args);
};

extern const PairKernels kPairsUnderTestAvx2;
extern const PairKernels kPairsUnderTestAvx512;
extern const PairKernels kTilesUnderTestAvx2;
extern const PairKernels kTilesUnderTestAvx512;

}  // namespace r1::kernels
