// Which experts a token goes to, on Hopper: as kernels/moe_router.h says (sigmoid scores, a bias
// that steers the choice but not the weight, group-limited), or with softmax scores, as DeepSeek-V2
// and Qwen3 have them. One kernel.
//
// Rounding: logits are fp32 sums of exact products of bf16 on the tensor cores, in an order that
// depends on D alone, so a token's choice does not depend on other tokens. e^x of relative error
// below 1e-6. A logit that is not a number counts as the worst choice.
//
// Shape letters: T tokens, E experts, A active experts, D model.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace r1::kernels {

struct MoeRouterBf16Shape {
  int hidden = 0;         // D, a multiple of 32
  int experts = 0;        // E <= 256, a multiple of 32
  int active = 0;         // A <= 32
  int groups = 1;         // of equal size; at most 32
  int groups_kept = 1;    // they hold at least A experts
  bool softmax = false;   // scores are softmax(logits), not sigmoid(logits)
  bool normalize = true;  // divide the taken scores by their sum + 1e-20
  float scaling = 1;
};

struct MoeRouterBf16Args {
  MoeRouterBf16Shape shape;
  int tokens = 0;                    // T >= 1
  const __nv_bfloat16* x = nullptr;  // [T, D], rows x_stride elements apart, a multiple of 8
  int64_t x_stride = 0;
  const __nv_bfloat16* router = nullptr;  // [E, D]
  const float* bias = nullptr;            // [E]; null = none
  int32_t* experts = nullptr;             // [T, A], ascending in each row
  float* weights = nullptr;               // [T, A]
};

// Null, or why the kernel cannot run this shape.
const char* MoeRouterBf16Sm90Unsupported(const MoeRouterBf16Shape& shape);

// cudaErrorInvalidValue for an unsupported shape or a misaligned stride.
[[nodiscard]] cudaError_t MoeRouterBf16Sm90(const MoeRouterBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
