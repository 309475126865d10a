// The learner's CPU kernels for the baseline of the compiler.
#define R1_SIMD_BYTES 16
#define R1_SIMD_NAMESPACE plain_kernels
#include "learner/policy/cpu_kernels_table.h"

namespace r1::learner {
extern const CpuKernels kPlainKernels;
constinit const CpuKernels kPlainKernels = plain_kernels::kTable;
}  // namespace r1::learner
