#include "kernels/cpu/simd_avx2.h"
#include "tests/kernels/emulated_pairs.h"

namespace r1::kernels {

constinit const PairKernels kPairsUnderTestAvx2 =
    MakePairKernels<EmulatedPairs<Avx2>>("emulated, avx2");
constinit const PairKernels kTilesUnderTestAvx2 =
    MakePairKernels<EmulatedAmx<Avx2>>("emulated, avx2");

}  // namespace r1::kernels
