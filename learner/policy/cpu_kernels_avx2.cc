// The learner's CPU kernels for AVX2 and FMA.
#define R1_SIMD_BYTES 32
#define R1_SIMD_NAMESPACE avx2_kernels
#include "learner/policy/cpu_kernels_table.h"

namespace r1::learner {
extern const CpuKernels kAvx2Kernels;
constinit const CpuKernels kAvx2Kernels = avx2_kernels::kTable;
}  // namespace r1::learner
