// The table of one instruction set; ends each cpu_kernels_<isa>.cc.
#pragma once

#include "learner/policy/gemm.h"
#include "learner/policy/row_kernels.h"
#include "learner/policy/varlen_attention.h"

namespace r1::learner::R1_SIMD_NAMESPACE {

constexpr CpuKernels kTable = {.gemm = Gemm,
                               .rms_norm_forward = RmsNormForward,
                               .rms_norm_backward = RmsNormBackward,
                               .swiglu_forward = SwiGluForward,
                               .swiglu_backward = SwiGluBackward,
                               .attention_forward = AttentionForward,
                               .attention_backward = AttentionBackward,
                               .sigmoid = SigmoidInPlace,
                               .softmax = SoftmaxInPlace,
                               .log_softmax_forward = LogSoftmaxForward,
                               .log_softmax_backward = LogSoftmaxBackward,
                               .sum_rows = SumRows};

}  // namespace r1::learner::R1_SIMD_NAMESPACE
