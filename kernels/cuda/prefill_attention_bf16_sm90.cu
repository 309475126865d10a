// Keys and values are matrices that the copy engine reads.
#include "kernels/cuda/prefill_attention.cuh"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"
#include "kernels/cuda/tensor_map.h"

namespace r1::kernels {
namespace {

using prefill::kTileBytes;

struct Matrices {
  static constexpr int kValueTiles = kPrefillHeadChannels / kPackedBlockColumns;
  static constexpr int kKeyTiles = kValueTiles + kPrefillSharedChannels / kPackedBlockColumns;
  static constexpr int kStages = 2;
  static constexpr bool kEndsInside = false;

  struct Args {
    prefill::PrefillWork work;
    CUtensorMap q;
    CUtensorMap q_shared;
    CUtensorMap keys;
    CUtensorMap key_shared;
    CUtensorMap values;
    int q_head;  // elements from a head to the next
    int q_shared_head;
    int key_head;
    int value_head;
  };

  // A head's own channels, then the shared ones.
  static __device__ void RequestQueries(const Args& args, const PrefillTile& tile, int head,
                                        uint32_t target, uint32_t full) {
    sm90::BarrierArriveExpectBytes(full, kKeyTiles * kTileBytes);
    RequestTiles(&args.q, head * args.q_head, tile.first_row, target, full);
    sm90::TensorCopy(target + kValueTiles * kTileBytes, &args.q_shared, head * args.q_shared_head,
                     tile.first_row, full);
  }
  static __device__ void RequestKeys(const Args& args, const PrefillTile& tile, int head, int block,
                                     uint32_t target, uint32_t full) {
    const int row = tile.first_key + block * prefill::kBlockKeys;
    sm90::BarrierArriveExpectBytes(full, kKeyTiles * kTileBytes);
    RequestTiles(&args.keys, head * args.key_head, row, target, full);
    sm90::TensorCopy(target + kValueTiles * kTileBytes, &args.key_shared, 0, row, full);
  }
  static __device__ void RequestValues(const Args& args, const PrefillTile& tile, int head,
                                       int block, uint32_t target, uint32_t full) {
    sm90::BarrierArriveExpectBytes(full, kValueTiles * kTileBytes);
    RequestTiles(&args.values, head * args.value_head, tile.first_key + block * prefill::kBlockKeys,
                 target, full);
  }

 private:
  static __device__ void RequestTiles(const CUtensorMap* map, int column, int row, uint32_t target,
                                      uint32_t full) {
#pragma unroll
    for (int i = 0; i < kValueTiles; ++i) {
      sm90::TensorCopy(target + i * kTileBytes, map, column + i * kPackedBlockColumns, row, full);
    }
  }
};

bool HasStrides(const PrefillOperand& operand) {
  return operand.stride > 0 && operand.stride % 8 == 0 && operand.head_stride % 8 == 0;
}

cudaError_t MapOperand(const PrefillOperand& operand, int rows, int heads, int channels,
                       CUtensorMap* map) {
  const int columns = static_cast<int>((heads - 1) * operand.head_stride) + channels;
  return MakeTensorMap(operand.data, rows, columns, operand.stride, kPrefillTileRows, map);
}

}  // namespace

cudaError_t PrefillAttentionBf16Sm90(const PrefillAttentionBf16Args& call, cudaStream_t stream) {
  if (call.heads < 1 || call.rows < 1 || call.key_rows < 1) return cudaErrorInvalidValue;
  if (call.tile_count < 1 || !(call.scale > 0)) return cudaErrorInvalidValue;
  for (const PrefillOperand& operand :
       {call.q, call.q_shared, call.keys, call.key_shared, call.values}) {
    if (!HasStrides(operand)) return cudaErrorInvalidValue;
  }
  if (call.out_stride % 2 != 0 || call.out_head_stride % 2 != 0) return cudaErrorInvalidValue;
  Matrices::Args args = {};
  args.work = {.tiles = call.tiles,
               .tile_count = call.tile_count,
               .heads = call.heads,
               .scale = call.scale,
               .out = call.out,
               .out_stride = call.out_stride,
               .out_head_stride = call.out_head_stride};
  args.q_head = static_cast<int>(call.q.head_stride);
  args.q_shared_head = static_cast<int>(call.q_shared.head_stride);
  args.key_head = static_cast<int>(call.keys.head_stride);
  args.value_head = static_cast<int>(call.values.head_stride);
  for (const cudaError_t error :
       {MapOperand(call.q, call.rows, call.heads, kPrefillHeadChannels, &args.q),
        MapOperand(call.q_shared, call.rows, call.heads, kPrefillSharedChannels, &args.q_shared),
        MapOperand(call.keys, call.key_rows, call.heads, kPrefillHeadChannels, &args.keys),
        MapOperand(call.key_shared, call.key_rows, 1, kPrefillSharedChannels, &args.key_shared),
        MapOperand(call.values, call.key_rows, call.heads, kPrefillHeadChannels, &args.values)}) {
    if (error != cudaSuccess) return error;
  }
  return prefill::Launch<Matrices>(args, stream);
}

}  // namespace r1::kernels
