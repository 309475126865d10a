// The experts of MoeExpertsBf16Sm90 for many tokens, where arithmetic sets the pace: as in
// dense_wide_bf16_sm90.h two blocks take 128 rows each of a tile of up to 256 tokens, which the
// copy engine delivers to both at once.
#pragma once

#include "kernels/cuda/moe_experts.cuh"

namespace r1::kernels {

// Whether this way is the faster one, and possible.
bool MoeWidePays(const MoeExpertsBf16Args& args);

// Sets everything of the launch's that depends on the kind of tile.
void SetMoeWideTiling(MoeKernelArgs* args);

// Gate-up and down, behind the kernel that builds the work list in args.space.
[[nodiscard]] cudaError_t MoeExpertsWideBf16Sm90(const MoeKernelArgs& args, cudaStream_t stream);

}  // namespace r1::kernels
