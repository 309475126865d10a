// The benchmarks of the GPU's kernels, one function a kernel, in bf16; only in a build with CUDA.
#pragma once

#include "kernels/bench/bench_report.h"

namespace r1::kernels {

void BenchReadCuda(const BenchReport& report);
void BenchDenseCuda(const BenchReport& report);
void BenchGqaDecodeCuda(const BenchReport& report);
void BenchMlaDecodeCuda(const BenchReport& report);
void BenchMoeExpertsCuda(const BenchReport& report);
void BenchMoeRouterCuda(const BenchReport& report);
void BenchPrefillAttentionCuda(const BenchReport& report);
void BenchSampleHeadCuda(const BenchReport& report);

}  // namespace r1::kernels
