#include "kernels/cuda/latent_gather_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPieceChannels = 8;  // 16 bytes
constexpr int kTokenPieces = kCacheChannels / kPieceChannels;

__global__ void __launch_bounds__(kThreads)
    LatentGatherKernel(const __grid_constant__ LatentGatherBf16Args args) {
  sm90::AllowDependentKernels();
  sm90::WaitForPriorKernels();
  const CachedTokens tokens = args.pieces[blockIdx.x];
  const uint8_t* const source = args.cache + int64_t{tokens.block} * kCacheBlockBytes;
  auto* const target =
      reinterpret_cast<uint4*>(args.rows + int64_t{tokens.first_row} * kCacheChannels);
#pragma unroll 4
  for (int i = threadIdx.x; i < tokens.tokens * kTokenPieces; i += kThreads) {
    const int offset = CacheOffset(i / kTokenPieces, i % kTokenPieces * kPieceChannels);
    target[i] = *reinterpret_cast<const uint4*>(source + offset);
  }
}

}  // namespace

cudaError_t LatentGatherBf16Sm90(const LatentGatherBf16Args& args, cudaStream_t stream) {
  if (args.count < 1) return cudaErrorInvalidValue;
  return LaunchDependent(LatentGatherKernel, dim3(static_cast<unsigned>(args.count)), kThreads, 0,
                         stream, args);
}

}  // namespace r1::kernels
