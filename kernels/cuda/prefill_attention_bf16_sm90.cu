// A block takes one item after the other: a tile of 128 rows for one head. One thread requests
// queries, another streams blocks of 128 keys and of 128 values through two rings; two warpgroups
// of 64 rows each multiply. The products of a block's scores are issued before those of the
// previous block's values, so that the tensor cores work on the latter while the softmax of the
// former runs.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/packed_layout.h"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/tensor_map.h"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kGroupThreads = 128;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kAttendWarps = 2 * kGroupThreads / 32;
constexpr int kGroupRows = kPrefillTileRows / 2;  // of a warpgroup
constexpr int kBlockKeys = 128;
// In shared memory operands are tiles of 128 rows of 64 channels.
constexpr int kTileBytes = kPrefillTileRows * kPackedRowBytes;
constexpr int kHeadTiles = kPrefillHeadChannels / kPackedBlockColumns;
constexpr int kKeyTiles = kHeadTiles + kPrefillSharedChannels / kPackedBlockColumns;
constexpr int kStages = 2;
constexpr float kLog2E = 1.4426950408889634f;
static_assert(kBlockKeys == kPrefillTileRows);

struct KernelArgs {
  PrefillAttentionBf16Args call;
  CUtensorMap q;
  CUtensorMap q_shared;
  CUtensorMap keys;
  CUtensorMap key_shared;
  CUtensorMap values;
};

struct Shared {
  uint8_t queries[kKeyTiles][kTileBytes];
  uint8_t keys[kStages][kKeyTiles][kTileBytes];
  uint8_t values[kStages][kHeadTiles][kTileBytes];
  uint64_t queries_full;
  uint64_t queries_empty;
  uint64_t keys_full[kStages];
  uint64_t keys_empty[kStages];
  uint64_t values_full[kStages];
  uint64_t values_empty[kStages];
};

// A block's items: the heads of a tile are neighbours, so that what runs at the same time shares
// the sequence's keys in L2. Every other round runs backwards: who got the longest context of one
// round gets the shortest of the next.
class ItemCursor {
 public:
  explicit __device__ ItemCursor(const PrefillAttentionBf16Args& call) : call_(call) {}

  __device__ bool Next(PrefillTile* tile, int* head) {
    const auto blocks = static_cast<int>(gridDim.x);
    const auto own = static_cast<int>(blockIdx.x);
    const int item = round_ * blocks + (round_ % 2 == 0 ? own : blocks - 1 - own);
    ++round_;
    // In the last round, which may be short, a block is past its end at most once.
    if (item >= call_.tile_count * call_.heads) return false;
    *tile = call_.tiles[item / call_.heads];
    *head = item % call_.heads;
    return true;
  }

  // Of keys, that the last row of the tile attends.
  static __device__ int Blocks(const PrefillTile& tile) {
    return (tile.first_position + tile.rows - 1) / kBlockKeys + 1;
  }

 private:
  const PrefillAttentionBf16Args& call_;
  int round_ = 0;
};

// A role's place in a ring.
struct RingCursor {
  int stage = 0;
  uint32_t phase = 0;

  __device__ void Advance() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// --- producers
// -------------------------------------------------------------------------------------------------

// By one thread.
__device__ __forceinline__ void RequestQueries(const KernelArgs& args, Shared& shared) {
  const PrefillAttentionBf16Args& call = args.call;
  const uint32_t full = SharedAddress(&shared.queries_full);
  ItemCursor items(call);
  PrefillTile tile;
  int head;
  uint32_t phase = 0;
  while (items.Next(&tile, &head)) {
    BarrierWait(SharedAddress(&shared.queries_empty), phase ^ 1);
    phase ^= 1;
    BarrierArriveExpectBytes(full, sizeof(shared.queries));
    const int column = head * static_cast<int>(call.q.head_stride);
    for (int i = 0; i < kHeadTiles; ++i) {
      TensorCopy(SharedAddress(shared.queries[i]), &args.q, column + i * kPackedBlockColumns,
                 tile.first_row, full);
    }
    TensorCopy(SharedAddress(shared.queries[kHeadTiles]), &args.q_shared,
               head * static_cast<int>(call.q_shared.head_stride), tile.first_row, full);
  }
}

// By another.
__device__ __forceinline__ void RequestKeysAndValues(const KernelArgs& args, Shared& shared) {
  const PrefillAttentionBf16Args& call = args.call;
  ItemCursor items(call);
  PrefillTile tile;
  int head;
  RingCursor ring;
  while (items.Next(&tile, &head)) {
    const int key_column = head * static_cast<int>(call.keys.head_stride);
    const int value_column = head * static_cast<int>(call.values.head_stride);
    const int blocks = ItemCursor::Blocks(tile);
    for (int block = 0; block < blocks; ++block) {
      const int row = tile.first_key + block * kBlockKeys;
      const uint32_t keys_full = SharedAddress(&shared.keys_full[ring.stage]);
      BarrierWait(SharedAddress(&shared.keys_empty[ring.stage]), ring.phase ^ 1);
      BarrierArriveExpectBytes(keys_full, sizeof(shared.keys[0]));
      for (int i = 0; i < kHeadTiles; ++i) {
        TensorCopy(SharedAddress(shared.keys[ring.stage][i]), &args.keys,
                   key_column + i * kPackedBlockColumns, row, keys_full);
      }
      TensorCopy(SharedAddress(shared.keys[ring.stage][kHeadTiles]), &args.key_shared, 0, row,
                 keys_full);
      const uint32_t values_full = SharedAddress(&shared.values_full[ring.stage]);
      BarrierWait(SharedAddress(&shared.values_empty[ring.stage]), ring.phase ^ 1);
      BarrierArriveExpectBytes(values_full, sizeof(shared.values[0]));
      for (int i = 0; i < kHeadTiles; ++i) {
        TensorCopy(SharedAddress(shared.values[ring.stage][i]), &args.values,
                   value_column + i * kPackedBlockColumns, row, values_full);
      }
      ring.Advance();
    }
  }
}

// --- consumers
// -------------------------------------------------------------------------------------------------

// What a thread holds of its two rows, r and r + 8 of its warpgroup's 64, as Wgmma lays them out.
struct Run {
  float scores[kBlockKeys / 2];  // then probabilities, relative to 2^highest
  float sums[kPrefillHeadChannels / 2];
  uint32_t weights[kBlockKeys / 16][4];  // probabilities of a block, rounded
  float highest[2];                      // scores, not yet scaled
  float mass[2];                         // of this thread's columns
  float shrink[2];                       // of sums and mass, as the highest score grew
};

__device__ __forceinline__ float HighestOfRow(float own) {
  own = fmaxf(own, __shfl_xor_sync(~0u, own, 1));
  return fmaxf(own, __shfl_xor_sync(~0u, own, 2));
}

// Scores of a block of keys: scores = queries * keys^T. Issued, not waited for.
__device__ __forceinline__ void MultiplyKeys(uint32_t queries, uint32_t keys, Run& run) {
  WgmmaFence();
#pragma unroll
  for (int i = 0; i < kKeyTiles; ++i) {
#pragma unroll
    for (int k = 0; k < kPackedBlockColumns / 16; ++k) {
      const uint32_t a = queries + i * (kTileBytes >> 4) + k * 2;
      const uint32_t b = keys + i * (kTileBytes >> 4) + k * 2;
      if (i == 0 && k == 0) {
        WgmmaFirst<kBlockKeys>(run.scores, a, b);
      } else {
        Wgmma<kBlockKeys>(run.scores, a, b);
      }
    }
  }
  WgmmaCommit();
}

// sums += probabilities * values. Issued, not waited for.
__device__ __forceinline__ void MultiplyValues(uint32_t values, Run& run) {
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kBlockKeys / 16; ++k) {
    WgmmaOfRegistersTransposedB<kPrefillHeadChannels>(run.sums, run.weights[k], values + k * 128);
  }
  WgmmaCommit();
}

// Scores to probabilities. The rows attend the first last_key + 1 and last_key + 9 tokens of the
// block; `masks` says whether that matters to a row of the warp.
__device__ __forceinline__ void Softmax(bool masks, int last_key, float scale, Run& run) {
  if (masks) {
    const int first = last_key - static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
    for (int i = 0; i < kBlockKeys / 2; ++i) {
      if (i / 4 * 8 + i % 2 > first + i / 2 % 2 * 8) run.scores[i] = -INFINITY;
    }
  }
  float highest[2] = {run.highest[0], run.highest[1]};
#pragma unroll
  for (int i = 0; i < kBlockKeys / 2; ++i) {
    highest[i / 2 % 2] = fmaxf(highest[i / 2 % 2], run.scores[i]);
  }
  float offset[2];
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    highest[row] = HighestOfRow(highest[row]);
    run.shrink[row] = Exp2((run.highest[row] - highest[row]) * scale);
    run.highest[row] = highest[row];
    run.mass[row] *= run.shrink[row];
    offset[row] = -highest[row] * scale;
  }
#pragma unroll
  for (int i = 0; i < kBlockKeys / 2; ++i) {
    run.scores[i] = Exp2(fmaf(run.scores[i], scale, offset[i / 2 % 2]));
    run.mass[i / 2 % 2] += run.scores[i];
  }
}

__device__ __forceinline__ void RoundProbabilities(Run& run) {
#pragma unroll
  for (int k = 0; k < kBlockKeys / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      run.weights[k][i] = PackBf16(run.scores[k * 8 + i * 2], run.scores[k * 8 + i * 2 + 1]);
  }
}

template <int kCount>
__device__ __forceinline__ void UseAllAfterWait(float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) UseAfterWait(values[i]);
}

__device__ __forceinline__ void ArriveOfWarp(uint64_t& barrier) {
  if (threadIdx.x % 32 == 0) BarrierArrive(SharedAddress(&barrier));
}

// Sums to results.
__device__ __forceinline__ void StoreRows(const PrefillAttentionBf16Args& call,
                                          const PrefillTile& tile, int head, int first_row,
                                          Run& run) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float mass = run.mass[half];
    mass += __shfl_xor_sync(~0u, mass, 1);
    mass += __shfl_xor_sync(~0u, mass, 2);
    const float factor = 1 / mass;
    const int row = first_row + half * 8;
    if (row >= tile.rows) continue;
    __nv_bfloat16* const out = call.out + (tile.first_row + row) * call.out_stride +
                               head * call.out_head_stride + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kPrefillHeadChannels / 8; ++j) {
      *reinterpret_cast<uint32_t*>(out + j * 8) =
          PackBf16(run.sums[j * 4 + half * 2] * factor, run.sums[j * 4 + half * 2 + 1] * factor);
    }
  }
}

__device__ __forceinline__ void Attend(const KernelArgs& args, Shared& shared) {
  const PrefillAttentionBf16Args& call = args.call;
  const int warpgroup = static_cast<int>(threadIdx.x) / kGroupThreads - 1;
  const int warp_row = warpgroup * kGroupRows + static_cast<int>(threadIdx.x) / 32 % 4 * 16;
  const int first_row = warp_row + static_cast<int>(threadIdx.x) % 32 / 4;
  const float scale = call.scale * kLog2E;
  const uint32_t queries =
      TileDescriptor(SharedAddress(shared.queries[0]) + warpgroup * kGroupRows * kPackedRowBytes);
  Run run;
  ItemCursor items(call);
  PrefillTile tile;
  int head;
  RingCursor keys;
  RingCursor values;
  uint32_t queries_phase = 0;
  while (items.Next(&tile, &head)) {
    const int blocks = ItemCursor::Blocks(tile);
    const auto softmax = [&](int block) {
      const int first_key = block * kBlockKeys;
      const bool masks = first_key + kBlockKeys - 1 > tile.first_position + warp_row;
      Softmax(masks, tile.first_position + first_row - first_key, scale, run);
    };
    const auto multiply_keys = [&] {
      BarrierWait(SharedAddress(&shared.keys_full[keys.stage]), keys.phase);
      MultiplyKeys(queries, TileDescriptor(SharedAddress(shared.keys[keys.stage][0])), run);
    };
    const auto multiply_values = [&] {
      BarrierWait(SharedAddress(&shared.values_full[values.stage]), values.phase);
      MultiplyValues(
          TransposedTileDescriptor(SharedAddress(shared.values[values.stage][0]), kTileBytes), run);
    };
    const auto keys_are_read = [&](int block) {
      UseAllAfterWait(run.scores);
      ArriveOfWarp(shared.keys_empty[keys.stage]);
      keys.Advance();
      if (block + 1 == blocks) ArriveOfWarp(shared.queries_empty);
    };
    const auto values_are_read = [&] {
      WgmmaWait<0>();
      UseAllAfterWait(run.sums);
      ArriveOfWarp(shared.values_empty[values.stage]);
      values.Advance();
    };

#pragma unroll
    for (float& sum : run.sums) sum = 0;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      run.highest[row] = -INFINITY;
      run.mass[row] = 0;
    }
    BarrierWait(SharedAddress(&shared.queries_full), queries_phase);
    queries_phase ^= 1;
    multiply_keys();
    WgmmaWait<0>();
    keys_are_read(0);
    softmax(0);
    RoundProbabilities(run);
    for (int block = 1; block < blocks; ++block) {
      multiply_keys();
      multiply_values();
      WgmmaWait<1>();
      keys_are_read(block);
      softmax(block);
      values_are_read();
#pragma unroll
      for (int i = 0; i < kPrefillHeadChannels / 2; ++i) run.sums[i] *= run.shrink[i / 2 % 2];
      RoundProbabilities(run);
    }
    multiply_values();
    values_are_read();
    StoreRows(call, tile, head, first_row, run);
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    PrefillAttentionKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
  if (threadIdx.x == 0) {
    BarrierInit(SharedAddress(&shared.queries_full), 1);
    BarrierInit(SharedAddress(&shared.queries_empty), kAttendWarps);
    for (int stage = 0; stage < kStages; ++stage) {
      BarrierInit(SharedAddress(&shared.keys_full[stage]), 1);
      BarrierInit(SharedAddress(&shared.keys_empty[stage]), kAttendWarps);
      BarrierInit(SharedAddress(&shared.values_full[stage]), 1);
      BarrierInit(SharedAddress(&shared.values_empty[stage]), kAttendWarps);
    }
    BarrierInitFence();
  }
  WaitForPriorKernels();
  AllowDependentKernels();
  __syncthreads();
  if (threadIdx.x < kGroupThreads) {
    DecreaseRegisters<24>();
    if (threadIdx.x == 0) {
      RequestKeysAndValues(args, shared);
    } else if (threadIdx.x == 32) {
      RequestQueries(args, shared);
    }
  } else {
    IncreaseRegisters<240>();
    Attend(args, shared);
  }
}

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
  KernelArgs args = {};
  args.call = call;
  for (const cudaError_t error :
       {MapOperand(call.q, call.rows, call.heads, kPrefillHeadChannels, &args.q),
        MapOperand(call.q_shared, call.rows, call.heads, kPrefillSharedChannels, &args.q_shared),
        MapOperand(call.keys, call.key_rows, call.heads, kPrefillHeadChannels, &args.keys),
        MapOperand(call.key_shared, call.key_rows, 1, kPrefillSharedChannels, &args.key_shared),
        MapOperand(call.values, call.key_rows, call.heads, kPrefillHeadChannels, &args.values)}) {
    if (error != cudaSuccess) return error;
  }
  const int64_t items = int64_t{call.tile_count} * call.heads;
  const int blocks = static_cast<int>(std::min<int64_t>(items, MultiprocessorCount()));
  return LaunchDependent(PrefillAttentionKernel, blocks, kThreads, static_cast<int>(sizeof(Shared)),
                         stream, args);
}

}  // namespace r1::kernels
