// The benchmarks of the CPU's kernels, one function a kernel, on one core.
#pragma once

#include "kernels/bench/bench_report.h"
#include "kernels/isa.h"

namespace r1::kernels {

struct CpuBenchOptions {
  IsaName isa;
  bool bf16 = false;                 // matrices, otherwise in fp32
  double fp32_flops_per_second = 0;  // the limit of attention, which is fp32 always
};
void BenchMatmulCpu(const BenchReport& report, const CpuBenchOptions& options);
void BenchMoeExpertsCpu(const BenchReport& report, const CpuBenchOptions& options);
void BenchGqaDecodeCpu(const BenchReport& report, const CpuBenchOptions& options);
void BenchMlaDecodeCpu(const BenchReport& report, const CpuBenchOptions& options);
void BenchSampleHeadCpu(const BenchReport& report, const CpuBenchOptions& options);

}  // namespace r1::kernels
