#include "kernels/cpu/simd_avx512.h"
#include "tests/kernels/emulated_pairs.h"

namespace r1::kernels {

constinit const PairKernels kPairsUnderTestAvx512 =
    MakePairKernels<EmulatedPairs<Avx512>>("emulated, avx512");
constinit const PairKernels kTilesUnderTestAvx512 =
    MakePairKernels<EmulatedAmx<Avx512>>("emulated, avx512");

}  // namespace r1::kernels
