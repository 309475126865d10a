// Keys and values come from the blocks of the paged cache, whose tiles are what the tensor cores
// read: 64 tokens each, two blocks of the cache to a block of keys. Values behind the last token
// that a tile attends may never have been written: they are cleared.
#include "kernels/cuda/gqa_prefill_bf16_sm90.h"
#include "kernels/cuda/prefill_attention.cuh"
#include "kernels/cuda/tensor_map.h"

namespace r1::kernels {
namespace {

using prefill::kTileBytes;

constexpr int kCacheBlocks = prefill::kBlockKeys / kGroupedBlockTokens;  // of a block of keys

template <int kTiles>
struct PagedCache {
  static constexpr int kHeadDim = kTiles * kPackedBlockColumns;
  static constexpr int kKeyTiles = kTiles;
  static constexpr int kValueTiles = kTiles;
  static constexpr int kStages = kTiles == 2 ? 3 : 4;
  static constexpr bool kEndsInside = true;

  struct Args {
    prefill::PrefillWork work;
    CUtensorMap q;
    const uint8_t* cache;
    const int32_t* block_tables;
    int table_stride;
    int kv_heads;
    int heads_of_key;
  };

  static __device__ void RequestQueries(const Args& args, const PrefillTile& tile, int head,
                                        uint32_t target, uint32_t full) {
    sm90::BarrierArriveExpectBytes(full, kTiles * kTileBytes);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      sm90::TensorCopy(target + i * kTileBytes, &args.q, head * kHeadDim + i * kPackedBlockColumns,
                       tile.first_row, full);
    }
  }
  static __device__ void RequestKeys(const Args& args, const PrefillTile& tile, int head, int block,
                                     uint32_t target, uint32_t full) {
    Request(args, tile, head, block, 0, target, full);
  }
  static __device__ void RequestValues(const Args& args, const PrefillTile& tile, int head,
                                       int block, uint32_t target, uint32_t full) {
    Request(args, tile, head, block, GroupedKeyBytes(kHeadDim), target, full);
  }

 private:
  // `offset`: of the keys, or values, among a head's bytes.
  static __device__ void Request(const Args& args, const PrefillTile& tile, int head, int block,
                                 int offset, uint32_t target, uint32_t full) {
    const int last_row = tile.first_row + tile.rows - 1;
    const int32_t* const table = args.block_tables + int64_t{last_row} * args.table_stride;
    const int first = block * kCacheBlocks;
    const int end = (tile.first_position + tile.rows - 1) / kGroupedBlockTokens + 1;
    const int count = end - first < kCacheBlocks ? end - first : kCacheBlocks;
    const int64_t head_bytes = GroupedHeadBytes(kHeadDim);
    const uint64_t policy = sm90::PolicyEvictNormal();
    sm90::BarrierArriveExpectBytes(full, count * kTiles * kGroupedTileBytes);
    for (int b = 0; b < count; ++b) {
      const uint8_t* const source =
          args.cache +
          (int64_t{table[first + b]} * args.kv_heads + head / args.heads_of_key) * head_bytes +
          offset;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        sm90::BulkCopy(target + i * kTileBytes + b * kGroupedTileBytes,
                       source + i * kGroupedTileBytes, kGroupedTileBytes, full, policy);
      }
    }
  }
};

template <int kTiles>
cudaError_t Launch(const GqaPrefillBf16Args& call, cudaStream_t stream) {
  using Source = PagedCache<kTiles>;
  const int width = call.heads * call.head_dim;
  typename Source::Args args = {.work = {.tiles = call.tiles,
                                         .tile_count = call.tile_count,
                                         .heads = call.heads,
                                         .scale = call.scale,
                                         .out = call.out,
                                         .out_stride = width,
                                         .out_head_stride = call.head_dim},
                                .q = {},
                                .cache = call.cache,
                                .block_tables = call.block_tables,
                                .table_stride = call.table_stride,
                                .kv_heads = call.kv_heads,
                                .heads_of_key = call.heads / call.kv_heads};
  const cudaError_t error =
      MakeTensorMap(call.q, call.rows, width, width, kPrefillTileRows, &args.q);
  return error == cudaSuccess ? prefill::Launch<Source>(args, stream) : error;
}

}  // namespace

cudaError_t GqaPrefillBf16Sm90(const GqaPrefillBf16Args& call, cudaStream_t stream) {
  if (call.rows < 1 || call.tile_count < 1 || !(call.scale > 0)) return cudaErrorInvalidValue;
  if (call.kv_heads < 1 || call.heads < call.kv_heads || call.heads % call.kv_heads != 0)
    return cudaErrorInvalidValue;
  if (!IsGroupedHeadDim(call.head_dim)) return cudaErrorInvalidValue;
  return call.head_dim == 64 ? Launch<1>(call, stream) : Launch<2>(call, stream);
}

}  // namespace r1::kernels
