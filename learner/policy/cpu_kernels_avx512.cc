// The learner's CPU kernels for AVX-512F.
#define R1_SIMD_BYTES 64
#define R1_SIMD_NAMESPACE avx512_kernels
#include "learner/policy/cpu_kernels_table.h"

namespace r1::learner {
extern const CpuKernels kAvx512Kernels;
constinit const CpuKernels kAvx512Kernels = avx512_kernels::kTable;
}  // namespace r1::learner
