// One block a row; a thread keeps its channels in registers between the sum and the division.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_results.cuh"
#include "kernels/cuda/residual_norm_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kThreads = 256;
constexpr int kChannels = 8;  // of a thread at a time

// Adds eight bf16, or takes them.
__device__ __forceinline__ void AddBf16(const __nv_bfloat16* source, float (&values)[kChannels]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(source);
  const auto* const pairs = reinterpret_cast<const __nv_bfloat162*>(&bits);
#pragma unroll
  for (int i = 0; i < kChannels / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    values[2 * i] += pair.x;
    values[2 * i + 1] += pair.y;
  }
}

__device__ __forceinline__ void LoadFp32(const float* source, float (&values)[kChannels]) {
  const float4 low = *reinterpret_cast<const float4*>(source);
  const float4 high = *reinterpret_cast<const float4*>(source + 4);
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

// Adds the sum of the experts' results.
__device__ __forceinline__ void AddExperts(const ResidualNormBf16Args& args, int row, int channel,
                                           float (&values)[kChannels]) {
  float sums[kChannels] = {};
  AddResults(args.experts, row, channel, args.hidden, sums);
#pragma unroll
  for (int i = 0; i < kChannels; ++i) values[i] += sums[i];
}

// Adds the sum of the parts.
__device__ __forceinline__ void AddParts(const ResidualNormBf16Args& args, int64_t offset,
                                         float (&values)[kChannels]) {
  constexpr int kAtOnce = 4;  // under way
  float sums[kChannels] = {};
  for (int first = 0; first < args.part_count; first += kAtOnce) {
    float parts[kAtOnce][kChannels];
#pragma unroll
    for (int part = 0; part < kAtOnce; ++part) {
      if (first + part < args.part_count)
        LoadFp32(args.delta_parts + (first + part) * args.part_stride + offset, parts[part]);
    }
#pragma unroll
    for (int part = 0; part < kAtOnce; ++part) {
      if (first + part >= args.part_count) continue;
#pragma unroll
      for (int i = 0; i < kChannels; ++i) sums[i] += parts[part][i];
    }
  }
#pragma unroll
  for (int i = 0; i < kChannels; ++i) values[i] += sums[i];
}

__device__ __forceinline__ void StoreFp32(float* target, const float (&values)[kChannels]) {
  *reinterpret_cast<float4*>(target) = make_float4(values[0], values[1], values[2], values[3]);
  *reinterpret_cast<float4*>(target + 4) = make_float4(values[4], values[5], values[6], values[7]);
}

template <int kPieces>
__global__ void __launch_bounds__(kThreads)
    ResidualNormKernel(const __grid_constant__ ResidualNormBf16Args args) {
  __shared__ float warp_sums[kThreads / 32];
  AllowDependentKernels();
  // Weights come from memory and need not wait.
  float weights[kPieces][kChannels] = {};
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int channel = (p * kThreads + static_cast<int>(threadIdx.x)) * kChannels;
    if (channel < args.hidden) LoadFp32(args.weight + channel, weights[p]);
  }
  WaitForPriorKernels();
  const int row = args.row_ids == nullptr ? blockIdx.x : args.row_ids[blockIdx.x];
  float* const residual = args.residual + int64_t{row} * args.hidden;
  float values[kPieces][kChannels] = {};
  float sum = 0;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int channel = (p * kThreads + static_cast<int>(threadIdx.x)) * kChannels;
    if (channel >= args.hidden) continue;
    if (args.tokens != nullptr) {
      AddBf16(args.embedding + int64_t{args.tokens[row]} * args.hidden + channel, values[p]);
    } else {
      LoadFp32(residual + channel, values[p]);
      if (args.delta != nullptr)
        AddBf16(args.delta + int64_t{row} * args.hidden + channel, values[p]);
      if (args.part_count > 0) AddParts(args, int64_t{row} * args.hidden + channel, values[p]);
      if (args.experts.results != nullptr) AddExperts(args, row, channel, values[p]);
    }
    if (args.row_ids == nullptr) StoreFp32(residual + channel, values[p]);
#pragma unroll
    for (int i = 0; i < kChannels; ++i) sum = fmaf(values[p][i], values[p][i], sum);
  }
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) total += warp_sums[warp];
  const float scale = rsqrtf(total / static_cast<float>(args.hidden) + args.eps);
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int channel = (p * kThreads + static_cast<int>(threadIdx.x)) * kChannels;
    if (channel >= args.hidden) continue;
    uint4 packed;
    auto* const pairs = reinterpret_cast<uint32_t*>(&packed);
#pragma unroll
    for (int i = 0; i < kChannels / 2; ++i) {
      pairs[i] = PackBf16(values[p][2 * i] * scale * weights[p][2 * i],
                          values[p][2 * i + 1] * scale * weights[p][2 * i + 1]);
    }
    *reinterpret_cast<uint4*>(args.y + int64_t{blockIdx.x} * args.hidden + channel) = packed;
  }
}

}  // namespace

cudaError_t ResidualNormBf16Sm90(const ResidualNormBf16Args& args, cudaStream_t stream) {
  static_assert(8 * kThreads * kChannels == kResidualNormHiddenMax);
  if (args.rows < 1 || args.hidden < 8 || args.hidden % 8 != 0) return cudaErrorInvalidValue;
  if (args.hidden > kResidualNormHiddenMax) return cudaErrorInvalidValue;
  const int pieces = (args.hidden + kThreads * kChannels - 1) / (kThreads * kChannels);
  const auto kernel = pieces == 1   ? ResidualNormKernel<1>
                      : pieces == 2 ? ResidualNormKernel<2>
                      : pieces <= 4 ? ResidualNormKernel<4>
                                    : ResidualNormKernel<8>;
  return LaunchDependent(kernel, args.rows, kThreads, 0, stream, args);
}

}  // namespace r1::kernels
