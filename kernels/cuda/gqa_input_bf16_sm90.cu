// One block a row; its warps take turns with the row's heads, two or four at a time: a thread holds
// eight neighbouring channels of a head.
#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kWarps = 8;
constexpr int kPiece = 8;  // channels of a thread: 16 bytes

__device__ __forceinline__ void LoadBf16(const __nv_bfloat16* source, float (&values)[kPiece]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(source);
  const auto* const pairs = reinterpret_cast<const __nv_bfloat162*>(&bits);
#pragma unroll
  for (int i = 0; i < kPiece / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

__device__ __forceinline__ void LoadFp32(const float* source, float (&values)[kPiece]) {
  const float4 low = *reinterpret_cast<const float4*>(source);
  const float4 high = *reinterpret_cast<const float4*>(source + 4);
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

// Normalises a head, of which kLanes neighbouring lanes hold a piece each.
template <int kLanes>
__device__ __forceinline__ void NormHead(const float* weights, float eps, int piece,
                                         float (&values)[kPiece]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kPiece; ++i) sum = fmaf(values[i], values[i], sum);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(~0u, sum, distance);
  const float scale = rsqrtf(sum / (kLanes * kPiece) + eps);
  float weight[kPiece];
  LoadFp32(weights + piece * kPiece, weight);
#pragma unroll
  for (int i = 0; i < kPiece; ++i) values[i] = values[i] * scale * weight[i];
}

// Rotates it.
template <int kLanes>
__device__ __forceinline__ void RotateHead(const float* table_row, bool interleaved, int piece,
                                           float (&values)[kPiece]) {
  float partners[kPiece];
#pragma unroll
  for (int i = 0; i < kPiece; ++i) {
    const float of_other_half = __shfl_xor_sync(~0u, values[i], kLanes / 2);
    partners[i] = interleaved ? values[i ^ 1] : of_other_half;
  }
  float cosines[kPiece];
  float sines[kPiece];
  LoadFp32(table_row + piece * kPiece, cosines);
  LoadFp32(table_row + (kLanes + piece) * kPiece, sines);
#pragma unroll
  for (int i = 0; i < kPiece; ++i) values[i] = fmaf(partners[i], sines[i], values[i] * cosines[i]);
}

template <int kHeadDim>
__global__ void __launch_bounds__(kWarps * 32)
    GqaInputKernel(const __grid_constant__ GqaInputBf16Args args) {
  constexpr int kLanes = kHeadDim / kPiece;
  constexpr int kHeadsOfWarp = 32 / kLanes;
  const int all_heads = args.heads + 2 * args.kv_heads;
  if (blockIdx.x == 0 && args.bias != nullptr) PrefetchWeights(args.bias, all_heads * kHeadDim * 4);
  WaitForPriorKernels();
  // Not before: what comes next begins with what is complete when this kernel begins
  // (GqaDecodeBf16Args::begins_early).
  AllowDependentKernels();
  const int row = blockIdx.x;
  const int lane = threadIdx.x % 32;
  const int piece = lane % kLanes;
  const int slot = args.slots[row];
  const float* const table_row = args.rope_table + int64_t{args.positions[row]} * 2 * kHeadDim;
  for (int first = static_cast<int>(threadIdx.x / 32) * kHeadsOfWarp; first < all_heads;
       first += kWarps * kHeadsOfWarp) {
    // Lanes without a head do as the last one's: everybody takes part in the shuffles.
    const int own = first + lane / kLanes;
    const int head = own < all_heads ? own : all_heads - 1;
    const bool is_query = head < args.heads;
    const bool is_value = head >= args.heads + args.kv_heads;
    const int column = head * kHeadDim + piece * kPiece;
    float values[kPiece];
    LoadBf16(args.input + row * args.input_stride + column, values);
    if (args.bias != nullptr) {
      float bias[kPiece];
      LoadFp32(args.bias + column, bias);
#pragma unroll
      for (int i = 0; i < kPiece; ++i) values[i] += bias[i];
    }
    float turned[kPiece];
#pragma unroll
    for (int i = 0; i < kPiece; ++i) turned[i] = values[i];
    if (args.query_norm != nullptr)
      NormHead<kLanes>(is_query ? args.query_norm : args.key_norm, args.eps, piece, turned);
    RotateHead<kLanes>(table_row, args.interleaved, piece, turned);
    if (!is_value) {
#pragma unroll
      for (int i = 0; i < kPiece; ++i) values[i] = turned[i];
    }
    if (own >= all_heads) continue;
    uint8_t* target =
        reinterpret_cast<uint8_t*>(args.query + int64_t{row} * args.heads * kHeadDim + column);
    if (!is_query) {
      if (slot < 0) continue;
      const int kv_head = (head - args.heads) % args.kv_heads;
      target = args.cache +
               (int64_t{slot / kGroupedBlockTokens} * args.kv_heads + kv_head) *
                   GroupedHeadBytes(kHeadDim) +
               (is_value ? GroupedKeyBytes(kHeadDim) : 0) +
               GroupedOffset(slot % kGroupedBlockTokens, piece * kPiece);
    }
    *reinterpret_cast<uint4*>(target) =
        make_uint4(PackBf16(values[0], values[1]), PackBf16(values[2], values[3]),
                   PackBf16(values[4], values[5]), PackBf16(values[6], values[7]));
  }
}

}  // namespace

cudaError_t GqaInputBf16Sm90(const GqaInputBf16Args& args, cudaStream_t stream) {
  if (args.rows < 1 || args.heads < 1 || args.kv_heads < 1) return cudaErrorInvalidValue;
  if (!IsGroupedHeadDim(args.head_dim) || args.input_stride % kPiece != 0)
    return cudaErrorInvalidValue;
  if ((args.query_norm == nullptr) != (args.key_norm == nullptr)) return cudaErrorInvalidValue;
  return LaunchDependent(args.head_dim == 64 ? GqaInputKernel<64> : GqaInputKernel<128>, args.rows,
                         kWarps * 32, 0, stream, args);
}

}  // namespace r1::kernels
