// The operators of one instruction set. An engine picks a table once; there is no dispatch inside a
// step.
#pragma once

#include "kernels/gqa_decode.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/mla_decode.h"
#include "kernels/moe_experts.h"
#include "kernels/moe_router.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/sample_head.h"
#include "kernels/swiglu.h"

namespace r1::kernels {

struct KernelTable {
  IsaName isa;
  void (*rms_norm)(const RmsNormArgs& args);
  void (*matmul)(const MatmulArgs& args);
  void (*swiglu)(const SwigluArgs& args);
  void (*rope)(const RopeArgs& args);
  void (*mla_decode)(const MlaDecodeArgs& args);
  void (*gqa_decode)(const GqaDecodeArgs& args);
  void (*moe_router)(const MoeRouterArgs& args);
  void (*moe_experts)(const MoeExpertsArgs& args);
  void (*moe_combine)(const MoeCombineArgs& args);
  void (*sample_head)(const SampleHeadArgs& args);
  void (*scan_vocab)(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
  void (*draw_tokens)(const SampleHeadArgs& args);
};

// The caller has made sure (ParseIsa, DetectIsas) that the machine can run it.
const KernelTable& KernelsFor(IsaName isa);

}  // namespace r1::kernels
