// Experts of a mixture-of-experts layer on Hopper, for 1 to 16k tokens: work list, gate and up with
// SwiGLU, down, and the weighted sum over a token's experts, in one to three kernels and without
// host synchronisation. Shared experts are experts that every token takes with weight 1.
//
//   out[t] = sum over a of weight[t, a] * down_e(silu(gate_e(x[t])) * up_e(x[t])), e = experts[t,
//   a]; then the shared ones
//
// Rounding: bf16 in and out, fp32 sums over columns in steps of 16, in order; the SwiGLU's result
// and each expert's result are rounded to bf16; a token's results are added in fp32 in the order of
// its slots. No float atomics, no split of a sum: a token's bits depend neither on the other tokens
// nor on their number. Relative error about 3e-3 against exact arithmetic on the same bf16 inputs
// (measured 2.8e-3 to 2.9e-3, see docs/performance.md).
//
// Shape letters: T tokens, E experts, A active experts, S shared experts, D model, I width of an
// expert.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/moe_results.h"
#include "kernels/cuda/packed_weights.h"

namespace r1::kernels {

struct MoeExpertsBf16Shape {
  int hidden = 0;          // D, a multiple of 128
  int intermediate = 0;    // I, a multiple of 64
  int experts = 0;         // E <= 256
  int active = 0;          // A <= E
  int shared_experts = 0;  // S <= 8, each of width I
};

struct MoeExpertsBf16Args {
  MoeExpertsBf16Shape shape;
  int tokens = 0;                    // T >= 1
  const __nv_bfloat16* x = nullptr;  // [T, D], rows x_stride elements apart, a multiple of 8
  int64_t x_stride = 0;
  const int32_t* experts = nullptr;  // [T, A], ids in [0, E), distinct in a row
  const float* weights = nullptr;    // [T, A]
  const uint8_t* gate_up = nullptr;  // [E + S] packed by PackGateUpBf16Sm90 (D columns)
  const uint8_t* down = nullptr;     // [E + S] packed by PackRowsBf16Sm90 (D rows, I columns)
  // Both by PackFp8Sm90 instead. The bits are those of the bf16 weights that FP8 stands for.
  bool fp8_weights = false;
  // [T, D], rows out_stride elements apart, a multiple of 8; null: what takes the results in adds
  // them up (MoeExpertsBf16Sm90Results).
  __nv_bfloat16* out = nullptr;
  int64_t out_stride = 0;
  // Of MoeExpertsBf16Sm90WorkspaceBytes(shape, workspace_tokens), zeroed once when allocated. A
  // graph that a call was captured in keeps it.
  void* workspace = nullptr;
  int workspace_tokens = 0;  // at least T
};

// Null, or why the kernels cannot run this shape.
const char* MoeExpertsBf16Sm90Unsupported(const MoeExpertsBf16Shape& shape);

// Bytes of workspace for up to tokens_max tokens. Calls that share a workspace must follow each
// other on one stream.
int64_t MoeExpertsBf16Sm90WorkspaceBytes(const MoeExpertsBf16Shape& shape, int tokens_max);

// What such a call leaves in the workspace for the kernels behind it, until the next call.
MoeResults MoeExpertsBf16Sm90Results(const MoeExpertsBf16Args& args);

// cudaErrorInvalidValue for an unsupported shape or misaligned strides.
[[nodiscard]] cudaError_t MoeExpertsBf16Sm90(const MoeExpertsBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
