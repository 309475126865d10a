// The core of the kernels that attend prompts. A block takes one item after the other: a tile of
// 128 rows for one head. One thread requests queries, another streams blocks of 128 keys and of 128
// values through two rings; two warpgroups of 64 rows each multiply. The products of a block's
// scores are issued before those of the previous block's values, so that the tensor cores work on
// the latter while the softmax of the former runs.
//
// Where queries, keys and values come from is the Source's affair:
//   Args                      with `work`, a PrefillWork
//   kKeyTiles, kValueTiles    64 channels each
//   kStages                   of the rings: as many as fit
//   kEndsInside               whether values behind a tile's last token may be no numbers
//   RequestQueries, RequestKeys, RequestValues: announce bytes on a barrier, then request them
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/packed_layout.h"
#include "kernels/cuda/prefill_tile.h"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels::prefill {

using namespace sm90;  // NOLINT: one kernel's worth of instructions

inline constexpr int kGroupThreads = 128;
inline constexpr int kThreads = 3 * kGroupThreads;
inline constexpr int kAttendWarps = 2 * kGroupThreads / 32;
inline constexpr int kGroupRows = kPrefillTileRows / 2;  // of a warpgroup
inline constexpr int kBlockKeys = 128;
// In shared memory operands are tiles of 128 rows of 64 channels.
inline constexpr int kTileBytes = kPrefillTileRows * kPackedRowBytes;
inline constexpr float kLog2E = 1.4426950408889634f;
static_assert(kBlockKeys == kPrefillTileRows);

struct PrefillWork {
  const PrefillTile* tiles;  // those with the longest contexts first
  int tile_count;
  int heads;
  float scale;  // of the scores, before softmax
  // Of row t, head h at out + t * out_stride + h * out_head_stride.
  __nv_bfloat16* out;
  int64_t out_stride;
  int64_t out_head_stride;
};

template <class Source>
struct Shared {
  uint8_t queries[Source::kKeyTiles][kTileBytes];
  uint8_t keys[Source::kStages][Source::kKeyTiles][kTileBytes];
  uint8_t values[Source::kStages][Source::kValueTiles][kTileBytes];
  uint64_t queries_full;
  uint64_t queries_empty;
  uint64_t keys_full[Source::kStages];
  uint64_t keys_empty[Source::kStages];
  uint64_t values_full[Source::kStages];
  uint64_t values_empty[Source::kStages];
};

// A block's items: the heads of a tile are neighbours, so that what runs at the same time shares
// the sequence's keys in L2. Every other round runs backwards: who got the longest context of one
// round gets the shortest of the next.
class ItemCursor {
 public:
  explicit __device__ ItemCursor(const PrefillWork& work) : work_(work) {}

  __device__ bool Next(PrefillTile* tile, int* head) {
    const auto blocks = static_cast<int>(gridDim.x);
    const auto own = static_cast<int>(blockIdx.x);
    const int item = round_ * blocks + (round_ % 2 == 0 ? own : blocks - 1 - own);
    ++round_;
    // In the last round, which may be short, a block is past its end at most once.
    if (item >= work_.tile_count * work_.heads) return false;
    *tile = work_.tiles[item / work_.heads];
    *head = item % work_.heads;
    return true;
  }

  // Of keys, that the last row of the tile attends.
  static __device__ int Blocks(const PrefillTile& tile) {
    return (tile.first_position + tile.rows - 1) / kBlockKeys + 1;
  }

 private:
  const PrefillWork& work_;
  int round_ = 0;
};

// A role's place in a ring.
template <int kStages>
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
template <class Source>
__device__ __forceinline__ void RequestQueries(const typename Source::Args& args,
                                               Shared<Source>& shared) {
  ItemCursor items(args.work);
  PrefillTile tile;
  int head;
  uint32_t phase = 0;
  while (items.Next(&tile, &head)) {
    BarrierWait(SharedAddress(&shared.queries_empty), phase ^ 1);
    phase ^= 1;
    Source::RequestQueries(args, tile, head, SharedAddress(shared.queries),
                           SharedAddress(&shared.queries_full));
  }
}

// By another.
template <class Source>
__device__ __forceinline__ void RequestKeysAndValues(const typename Source::Args& args,
                                                     Shared<Source>& shared) {
  ItemCursor items(args.work);
  PrefillTile tile;
  int head;
  RingCursor<Source::kStages> ring;
  while (items.Next(&tile, &head)) {
    const int blocks = ItemCursor::Blocks(tile);
    for (int block = 0; block < blocks; ++block) {
      BarrierWait(SharedAddress(&shared.keys_empty[ring.stage]), ring.phase ^ 1);
      Source::RequestKeys(args, tile, head, block, SharedAddress(shared.keys[ring.stage]),
                          SharedAddress(&shared.keys_full[ring.stage]));
      BarrierWait(SharedAddress(&shared.values_empty[ring.stage]), ring.phase ^ 1);
      Source::RequestValues(args, tile, head, block, SharedAddress(shared.values[ring.stage]),
                            SharedAddress(&shared.values_full[ring.stage]));
      ring.Advance();
    }
  }
}

// --- consumers
// -------------------------------------------------------------------------------------------------

// What a thread holds of its two rows, r and r + 8 of its warpgroup's 64, as Wgmma lays them out.
template <int kChannels>
struct Run {
  float scores[kBlockKeys / 2];  // then probabilities, relative to 2^highest
  float sums[kChannels / 2];
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
template <int kKeyTiles>
__device__ __forceinline__ void MultiplyKeys(uint32_t queries, uint32_t keys,
                                             float (&scores)[kBlockKeys / 2]) {
  WgmmaFence();
#pragma unroll
  for (int i = 0; i < kKeyTiles; ++i) {
#pragma unroll
    for (int k = 0; k < kPackedBlockColumns / 16; ++k) {
      const uint32_t a = queries + i * (kTileBytes >> 4) + k * 2;
      const uint32_t b = keys + i * (kTileBytes >> 4) + k * 2;
      if (i == 0 && k == 0) {
        WgmmaFirst<kBlockKeys>(scores, a, b);
      } else {
        Wgmma<kBlockKeys>(scores, a, b);
      }
    }
  }
  WgmmaCommit();
}

// sums += probabilities * values. Issued, not waited for.
template <int kChannels>
__device__ __forceinline__ void MultiplyValues(uint32_t values, Run<kChannels>& run) {
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kBlockKeys / 16; ++k) {
    WgmmaOfRegistersTransposedB<kChannels>(run.sums, run.weights[k], values + k * 128);
  }
  WgmmaCommit();
}

// Scores to probabilities. The rows attend the first last_key + 1 and last_key + 9 tokens of the
// block; `masks` says whether that matters to a row of the warp.
template <int kChannels>
__device__ __forceinline__ void Softmax(bool masks, int last_key, float scale,
                                        Run<kChannels>& run) {
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

template <int kChannels>
__device__ __forceinline__ void RoundProbabilities(Run<kChannels>& run) {
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

// The values of the tokens from `first` on become zeros. By both warpgroups.
template <int kValueTiles>
__device__ __forceinline__ void ClearValues(uint8_t (&values)[kValueTiles][kTileBytes], int first) {
  constexpr int kRowPieces = kPackedRowBytes / 16;
  const int thread = static_cast<int>(threadIdx.x) - kGroupThreads;
  for (int tile = 0; tile < kValueTiles; ++tile) {
    for (int i = first * kRowPieces + thread; i < kBlockKeys * kRowPieces; i += 2 * kGroupThreads)
      reinterpret_cast<uint4*>(values[tile])[i] = uint4{};
  }
  FenceAsyncProxy();
  NamedBarrierSync(1, 2 * kGroupThreads);
}

// Sums to results.
template <int kChannels>
__device__ __forceinline__ void StoreRows(const PrefillWork& work, const PrefillTile& tile,
                                          int head, int first_row, const Run<kChannels>& run) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float mass = run.mass[half];
    mass += __shfl_xor_sync(~0u, mass, 1);
    mass += __shfl_xor_sync(~0u, mass, 2);
    const float factor = 1 / mass;
    const int row = first_row + half * 8;
    if (row >= tile.rows) continue;
    __nv_bfloat16* const out = work.out + (tile.first_row + row) * work.out_stride +
                               head * work.out_head_stride + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kChannels / 8; ++j) {
      *reinterpret_cast<uint32_t*>(out + j * 8) =
          PackBf16(run.sums[j * 4 + half * 2] * factor, run.sums[j * 4 + half * 2 + 1] * factor);
    }
  }
}

template <class Source>
__device__ __forceinline__ void Attend(const PrefillWork& work, Shared<Source>& shared) {
  constexpr int kChannels = Source::kValueTiles * kPackedBlockColumns;
  const int warpgroup = static_cast<int>(threadIdx.x) / kGroupThreads - 1;
  const int warp_row = warpgroup * kGroupRows + static_cast<int>(threadIdx.x) / 32 % 4 * 16;
  const int first_row = warp_row + static_cast<int>(threadIdx.x) % 32 / 4;
  const float scale = work.scale * kLog2E;
  const uint32_t queries =
      TileDescriptor(SharedAddress(shared.queries[0]) + warpgroup * kGroupRows * kPackedRowBytes);
  Run<kChannels> run;
  ItemCursor items(work);
  PrefillTile tile;
  int head;
  RingCursor<Source::kStages> keys;
  RingCursor<Source::kStages> values;
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
      MultiplyKeys<Source::kKeyTiles>(
          queries, TileDescriptor(SharedAddress(shared.keys[keys.stage])), run.scores);
    };
    const auto multiply_values = [&](bool last) {
      BarrierWait(SharedAddress(&shared.values_full[values.stage]), values.phase);
      const int tokens = tile.first_position + tile.rows - (blocks - 1) * kBlockKeys;
      if (Source::kEndsInside && last && tokens < kBlockKeys)
        ClearValues(shared.values[values.stage], tokens);
      MultiplyValues(
          TransposedTileDescriptor(SharedAddress(shared.values[values.stage]), kTileBytes), run);
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
      multiply_values(false);
      WgmmaWait<1>();
      keys_are_read(block);
      softmax(block);
      values_are_read();
#pragma unroll
      for (int i = 0; i < kChannels / 2; ++i) run.sums[i] *= run.shrink[i / 2 % 2];
      RoundProbabilities(run);
    }
    multiply_values(true);
    values_are_read();
    StoreRows(work, tile, head, first_row, run);
  }
}

template <class Source>
__global__ void __launch_bounds__(kThreads, 1)
    PrefillKernel(const __grid_constant__ typename Source::Args args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared<Source>*>(shared_bytes);
  if (threadIdx.x == 0) {
    BarrierInit(SharedAddress(&shared.queries_full), 1);
    BarrierInit(SharedAddress(&shared.queries_empty), kAttendWarps);
    for (int stage = 0; stage < Source::kStages; ++stage) {
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
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) {
      RequestKeysAndValues<Source>(args, shared);
    } else if (threadIdx.x == 32) {
      RequestQueries<Source>(args, shared);
    }
  } else {
    IncreaseRegisters<232>();
    Attend<Source>(args.work, shared);
  }
}

template <class Source>
cudaError_t Launch(const typename Source::Args& args, cudaStream_t stream) {
  static_assert(sizeof(Shared<Source>) <= 227 << 10);
  const int64_t items = int64_t{args.work.tile_count} * args.work.heads;
  const int blocks = static_cast<int>(std::min<int64_t>(items, MultiprocessorCount()));
  return LaunchDependent(PrefillKernel<Source>, blocks, kThreads,
                         static_cast<int>(sizeof(Shared<Source>)), stream, args);
}

}  // namespace r1::kernels::prefill
