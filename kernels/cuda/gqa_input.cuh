// What becomes of one projected head before grouped-query attention: bias, norm and rotation. The
// kernel of gqa_input_bf16_sm90.h and decoding attention share it, so that their bits are the same.
#pragma once

#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels {

inline constexpr int kGqaPiece = 8;  // channels of a thread: 16 bytes

// Lanes that hold a head together.
template <int kHeadDim>
inline constexpr int kGqaHeadLanes = kHeadDim / kGqaPiece;

__device__ __forceinline__ void LoadPiece(const __nv_bfloat16* source, float (&values)[kGqaPiece]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(source);
  const auto* const pairs = reinterpret_cast<const __nv_bfloat162*>(&bits);
#pragma unroll
  for (int i = 0; i < kGqaPiece / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

__device__ __forceinline__ void LoadPiece(const float* source, float (&values)[kGqaPiece]) {
  const float4 low = *reinterpret_cast<const float4*>(source);
  const float4 high = *reinterpret_cast<const float4*>(source + 4);
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

// Normalises a head, of which kLanes neighbouring lanes hold a piece each.
template <int kLanes>
__device__ __forceinline__ void NormHead(const float* weights, float eps, int piece,
                                         float (&values)[kGqaPiece]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kGqaPiece; ++i) sum = fmaf(values[i], values[i], sum);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(~0u, sum, distance);
  const float scale = rsqrtf(sum / (kLanes * kGqaPiece) + eps);
  float weight[kGqaPiece];
  LoadPiece(weights + piece * kGqaPiece, weight);
#pragma unroll
  for (int i = 0; i < kGqaPiece; ++i) values[i] = values[i] * scale * weight[i];
}

// Rotates it.
template <int kLanes>
__device__ __forceinline__ void RotateHead(const float* table_row, bool interleaved, int piece,
                                           float (&values)[kGqaPiece]) {
  float partners[kGqaPiece];
#pragma unroll
  for (int i = 0; i < kGqaPiece; ++i) {
    const float of_other_half = __shfl_xor_sync(~0u, values[i], kLanes / 2);
    partners[i] = interleaved ? values[i ^ 1] : of_other_half;
  }
  float cosines[kGqaPiece];
  float sines[kGqaPiece];
  LoadPiece(table_row + piece * kGqaPiece, cosines);
  LoadPiece(table_row + (kLanes + piece) * kGqaPiece, sines);
#pragma unroll
  for (int i = 0; i < kGqaPiece; ++i)
    values[i] = fmaf(partners[i], sines[i], values[i] * cosines[i]);
}

// Eight channels of a row's head `head` of H queries, N keys and N values, rounded: by whole warps,
// kGqaHeadLanes neighbouring lanes a head. table_row is that of the row's position.
template <int kHeadDim>
__device__ __forceinline__ uint4 MakeGqaInput(const GqaInputBf16Args& args, int row, int head,
                                              const float* table_row) {
  constexpr int kLanes = kGqaHeadLanes<kHeadDim>;
  const int piece = static_cast<int>(threadIdx.x) % kLanes;
  const int column = head * kHeadDim + piece * kGqaPiece;
  float values[kGqaPiece];
  LoadPiece(args.input + row * args.input_stride + column, values);
  if (args.bias != nullptr) {
    float bias[kGqaPiece];
    LoadPiece(args.bias + column, bias);
#pragma unroll
    for (int i = 0; i < kGqaPiece; ++i) values[i] += bias[i];
  }
  float turned[kGqaPiece];
#pragma unroll
  for (int i = 0; i < kGqaPiece; ++i) turned[i] = values[i];
  if (args.query_norm != nullptr) {
    NormHead<kLanes>(head < args.heads ? args.query_norm : args.key_norm, args.eps, piece, turned);
  }
  RotateHead<kLanes>(table_row, args.interleaved, piece, turned);
  if (head < args.heads + args.kv_heads) {  // a query or a key
#pragma unroll
    for (int i = 0; i < kGqaPiece; ++i) values[i] = turned[i];
  }
  return make_uint4(sm90::PackBf16(values[0], values[1]), sm90::PackBf16(values[2], values[3]),
                    sm90::PackBf16(values[4], values[5]), sm90::PackBf16(values[6], values[7]));
}

// Where eight channels from `channel` on of a token's key or value are in the cache.
template <int kHeadDim>
__device__ __forceinline__ uint8_t* GqaCachePiece(const GqaInputBf16Args& args, int slot,
                                                  int kv_head, bool is_value, int channel) {
  return args.cache +
         (int64_t{slot / kGroupedBlockTokens} * args.kv_heads + kv_head) *
             GroupedHeadBytes(kHeadDim) +
         (is_value ? GroupedKeyBytes(kHeadDim) : 0) +
         GroupedOffset(slot % kGroupedBlockTokens, channel);
}

}  // namespace r1::kernels
