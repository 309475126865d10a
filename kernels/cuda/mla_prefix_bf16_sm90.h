// The splits of shared prefixes, a step of MlaDecodeBf16Sm90: their sums and states go to the
// workspace, with the bits that they get when every sequence attends them for itself.
#pragma once

#include "kernels/cuda/mla_splits.cuh"

namespace r1::kernels {

// Query rows of an item. They divide G * H.
inline constexpr int kMlaPrefixRows = 64;

[[nodiscard]] cudaError_t MlaAttendPrefixes(const MlaSplitArgs& args, cudaStream_t stream);

}  // namespace r1::kernels
