// The GPU that r1_bench_kernels measures.
#pragma once

#include "common/status.h"
#include "kernels/bench/bench_report.h"

namespace r1::kernels {

// Sets its name and ceilings: those of an H200. FailedPrecondition without CUDA or a GPU.
[[nodiscard]] absl::Status DescribeCudaDevice(BenchOptions* options);

}  // namespace r1::kernels
