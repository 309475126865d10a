// Picks the learner's CPU kernels at run time.

#include "learner/policy/cpu_kernels.h"

#include "kernels/isa.h"

namespace r1::learner {

extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kPlainKernels;

int64_t AttentionScratch::Round(int64_t count) { return (count + kBlock - 1) / kBlock * kBlock; }

AttentionScratch::AttentionScratch(const AttentionArgs& args, bool with_gradient)
    : channels(Round(args.nope + args.rope)), values(Round(args.value)) {
  float* next = args.scratch;
  floats = 0;
  const auto take = [&](int64_t count) {
    float* const taken = next == nullptr ? nullptr : next + floats;
    floats += Round(count);
    return taken;
  };
  const int64_t L = Round(args.longest);
  rotary = take(L * args.rope);
  for (float** matrix : {&q, &k, &k_transposed}) *matrix = take(L * channels);
  v = take(L * values);
  scores = take(kBlock * L);
  product = take(kBlock * values);
  drotary = dq = dk = dout = dv = v_transposed = dscores = nullptr;
  if (!with_gradient) return;
  drotary = take(L * args.rope);
  for (float** matrix : {&dq, &dk}) *matrix = take(L * channels);
  for (float** matrix : {&dout, &dv, &v_transposed}) *matrix = take(L * values);
  dscores = take(kBlock * L);
}

int64_t AttentionScratch::Floats(const AttentionArgs& args, bool with_gradient) {
  AttentionArgs sizes = args;
  sizes.scratch = nullptr;
  return AttentionScratch(sizes, with_gradient).floats;
}

const CpuKernels& CpuKernelsFor(kernels::IsaName isa) {
  switch (isa) {
    case kernels::IsaName::kAvx512:
    case kernels::IsaName::kAvx512Bf16:
    case kernels::IsaName::kAmxBf16:
      return kAvx512Kernels;
    case kernels::IsaName::kAvx2:
      return kAvx2Kernels;
    case kernels::IsaName::kReference:
      return kPlainKernels;
  }
  return kPlainKernels;
}

}  // namespace r1::learner
