// A Policy in LibTorch's own operators and autograd, for any device that LibTorch has: what a GPU
// trains with. The mathematics is that of forward_pass.h; the matrix products and attention are in
// fp32, or in bf16 with an fp32 residual stream, norms, router, head and logprobs, as the CUDA
// engine has them. Master parameters, and the gradients handed out, stay fp32 in host memory.
//
// What it does not promise: the same bits from run to run on a GPU, whose attention adds its
// gradients in any order, or for other packings of the same sequences.
#pragma once

#include <memory>
#include <string>

#include "learner/policy/policy.h"

namespace r1::learner {

struct AtenPolicyOptions {
  bool activation_recompute = false;
  std::string device = "cpu";  // or "cuda:N", which ResolveDevice has found
  bool bf16 = false;           // else fp32
};

[[nodiscard]] absl::StatusOr<std::unique_ptr<Policy>> CreateAtenPolicy(
    const ModelSpec& spec, const AtenPolicyOptions& options, uint64_t run_seed);

}  // namespace r1::learner
