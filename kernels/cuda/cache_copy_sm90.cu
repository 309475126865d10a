#include "kernels/cuda/cache_copy_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    CacheCopyKernel(const __grid_constant__ CacheCopyArgs args) {
  sm90::AllowDependentKernels();
  sm90::WaitForPriorKernels();
  const CacheBlockCopy copy = args.copies[blockIdx.x];
  uint8_t* const layer = args.cache + blockIdx.y * args.layer_bytes;
  const auto* const source =
      reinterpret_cast<const uint4*>(layer + int64_t{copy.source} * args.block_bytes);
  auto* const target = reinterpret_cast<uint4*>(layer + int64_t{copy.target} * args.block_bytes);
#pragma unroll 4
  for (int i = threadIdx.x; i < args.block_bytes / 16; i += kThreads) target[i] = source[i];
}

}  // namespace

cudaError_t CacheCopySm90(const CacheCopyArgs& args, cudaStream_t stream) {
  if (args.count < 1 || args.layers < 1) return cudaErrorInvalidValue;
  if (args.layer_bytes % 16 != 0 || args.block_bytes % 16 != 0) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(args.count), static_cast<unsigned>(args.layers));
  return LaunchDependent(CacheCopyKernel, grid, kThreads, 0, stream, args);
}

}  // namespace r1::kernels
