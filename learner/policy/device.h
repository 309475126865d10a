// Where a policy computes. LibTorch's CUDA half is a library of its own, which nothing is linked
// to: it is loaded when a GPU is asked for, so that one program serves machines without it.
#pragma once

#include <string>

#include "common/status.h"

namespace r1::learner {

// "auto", "cpu", "cuda" or "cuda:N" (config learner.device) -> "cpu" or "cuda:N". Call it before
// LibTorch computes anything: it looks for devices once. InvalidArgument: another name, no
// libtorch_cuda.so, or no such GPU, with what to do; auto is then the CPU.
[[nodiscard]] absl::StatusOr<std::string> ResolveDevice(const std::string& device);

}  // namespace r1::learner
