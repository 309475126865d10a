// MlaAttendPrefixes: an item is a split of a shared prefix for 64 query rows, all of them on the
// 64-wide side of wgmma. One warpgroup makes probabilities of the scores, two others weigh the
// values with them, each for half of the latent channels, so that the tensor cores have one's
// products to work on while the other one waits or computes. Two buffers take a block of the cache
// each, and are filled anew part by part as their channels have been read.
//
// Each sum has the order that mla_decode_bf16_sm90.cu gives it: scores in two sums of every other
// step of 16 channels, masses by pairs of tokens 8 apart, 16 pairs a block.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mla_prefix_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/tensor_map.h"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kGroupThreads = 128;
constexpr int kGroupWarps = kGroupThreads / 32;
constexpr int kThreads = 4 * kGroupThreads;  // producers, scores, low and high channels
constexpr int kBuffers = 2;
constexpr int kRows = kMlaPrefixRows;
constexpr int kTileBytes = kRows * kPackedRowBytes;
constexpr int kGroupsMax = kMlaSequencesMax / 2;
constexpr int kOwnChannels = kLatentChannels / 2;  // of a warpgroup that weighs values
constexpr int kRotaryTile = kMlaLatentTiles;

// Named barriers of the three warpgroups that compute: probabilities and shrink are there, and have
// been used.
constexpr int kProbabilitiesMade = 1;
constexpr int kProbabilitiesUsed = 2;
constexpr int kComputeThreads = 3 * kGroupThreads;

// Parts of a block's channels that are read, and given back, at different times: rotary ones, and
// the first and the second half of what each warpgroup weighs.
constexpr int kParts = 3;
__device__ __forceinline__ int PartOfTile(int tile) {
  return tile == kRotaryTile ? 0 : 1 + tile / 2 % 2;
}

struct PrefixArgs {
  MlaSplitArgs split;
  CUtensorMap q;  // [B * H, L + R] in boxes of kRows
};

struct Shared {
  uint8_t queries[kCacheTiles][kTileBytes];
  uint8_t blocks[kBuffers][kCacheTiles][kCacheTileBytes];
  uint8_t probabilities[kTileBytes];
  float shrink[kRows];  // of the sums so far, before the block's are added
  uint64_t full[kBuffers][kCacheTiles];
  uint64_t empty[kBuffers][kParts];
  uint64_t queries_full;
  uint64_t queries_empty;
  int first_item[kGroupsMax + 1];  // of each group
};
static_assert(sizeof(Shared) <= 227 << 10);

struct Item {
  const int32_t* blocks;  // of the split
  int block_count;
  int first_row;  // of the call's B * H
  int split;
};

// The items of a block of threads: a group's splits times its tiles of rows, the rows fastest, so
// that what runs at the same time shares the cache's bytes in L2.
class ItemCursor {
 public:
  __device__ ItemCursor(const MlaDecodeBf16Args& call, const int* first_item)
      : call_(call), first_item_(first_item), next_(blockIdx.x) {}

  static __device__ int RowTiles(const MlaDecodeBf16Args& call) {
    return call.group_size * call.heads / kRows;
  }

  __device__ bool Next(Item* item) {
    const int groups = call_.sequences / call_.group_size;
    if (next_ >= first_item_[groups]) return false;
    const int group = UnitOfMlaItem(first_item_, groups, next_);
    const int in_group = next_ - first_item_[group];
    item->split = in_group / RowTiles(call_);
    item->first_row = group * call_.group_size * call_.heads + in_group % RowTiles(call_) * kRows;
    const int first_token = item->split * call_.split_tokens;
    item->blocks = call_.block_tables + int64_t{group} * call_.group_size * call_.table_stride +
                   first_token / kLatentBlockTokens;
    item->block_count =
        min(call_.prefix_tokens[group] - first_token, call_.split_tokens) / kLatentBlockTokens;
    next_ += gridDim.x;
    return true;
  }

 private:
  const MlaDecodeBf16Args& call_;
  const int* const first_item_;
  int next_;
};

// A role's place among the buffers.
struct BufferCursor {
  int buffer = 0;
  uint32_t phase = 0;

  __device__ void Advance() {
    buffer ^= 1;
    if (buffer == 0) phase ^= 1;
  }
};
static_assert(kBuffers == 2);

// --- producers
// -------------------------------------------------------------------------------------------------

// By one warp, a tile a lane.
__device__ __forceinline__ void RequestBlocks(const MlaDecodeBf16Args& call, Shared& shared) {
  const int lane = threadIdx.x;
  const int tile = lane == 0 ? kRotaryTile : lane - 1;  // in the order in which they are read
  const uint64_t policy = PolicyEvictNormal();
  ItemCursor items(call, shared.first_item);
  BufferCursor at;
  Item item;
  while (items.Next(&item)) {
    for (int block = 0; block < item.block_count; ++block) {
      const uint8_t* const source = call.cache + int64_t{item.blocks[block]} * kCacheBlockBytes;
      for (int part = 0; part < kParts; ++part) {
        BarrierWait(SharedAddress(&shared.empty[at.buffer][part]), at.phase ^ 1);
        if (lane < kCacheTiles && PartOfTile(tile) == part) {
          const uint32_t full = SharedAddress(&shared.full[at.buffer][tile]);
          BarrierArriveExpectBytes(full, kCacheTileBytes);
          BulkCopy(SharedAddress(shared.blocks[at.buffer][tile]), source + tile * kCacheTileBytes,
                   kCacheTileBytes, full, policy);
        }
        __syncwarp();
      }
      at.Advance();
    }
  }
}

// By one thread.
__device__ __forceinline__ void RequestQueries(const PrefixArgs& args, Shared& shared) {
  ItemCursor items(args.split.call, shared.first_item);
  const uint32_t full = SharedAddress(&shared.queries_full);
  Item item;
  for (uint32_t phase = 1; items.Next(&item); phase ^= 1) {
    BarrierWait(SharedAddress(&shared.queries_empty), phase);
    BarrierArriveExpectBytes(full, sizeof(shared.queries));
    for (int tile = 0; tile < kCacheTiles; ++tile) {
      TensorCopy(SharedAddress(shared.queries[tile]), &args.q, tile * 64, item.first_row, full);
    }
  }
}

// --- scores
// -------------------------------------------------------------------------------------------------

// Of a thread's two rows, r and r + 8 of 64 as Wgmma lays them out.
struct Run {
  float highest[2];
  // By pairs of tokens t and t + 8 of a block: pair 2 * w + e has t = 16 * w + 2 * (lane % 4) + e.
  float mass[2][8];
};

// Scores of a block: query rows by tokens.
__device__ __forceinline__ void MultiplyKeys(Shared& shared, const BufferCursor& at,
                                             float (&scores)[kLatentBlockTokens / 2]) {
  float more_scores[kLatentBlockTokens / 2];
#pragma unroll
  for (int i = 0; i < kLatentBlockTokens / 2; ++i) {  // here, not between the products
    scores[i] = 0;
    more_scores[i] = 0;
    UseAfterWait(scores[i]);
    UseAfterWait(more_scores[i]);
  }
#pragma unroll
  for (int i = 0; i < kCacheTiles; ++i) {
    const int tile = i == 0 ? kRotaryTile : i - 1;
    const uint32_t queries = TileDescriptor(SharedAddress(shared.queries[tile]));
    const uint32_t keys = TileDescriptor(SharedAddress(shared.blocks[at.buffer][tile]));
    BarrierWait(SharedAddress(&shared.full[at.buffer][tile]), at.phase);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      Wgmma<kLatentBlockTokens>(k % 2 == 0 ? scores : more_scores, queries + k * 2, keys + k * 2);
  }
  WgmmaCommit();
  WgmmaWait<0>();
#pragma unroll
  for (int i = 0; i < kLatentBlockTokens / 2; ++i) {
    UseAfterWait(scores[i]);
    UseAfterWait(more_scores[i]);
    scores[i] += more_scores[i];
  }
}

// Scores to probabilities, relative to the highest score so far.
__device__ __forceinline__ void Softmax(float scale, float (&scores)[kLatentBlockTokens / 2],
                                        Run& run, float (&shrink)[2]) {
  float highest[2] = {run.highest[0], run.highest[1]};
#pragma unroll
  for (int i = 0; i < kLatentBlockTokens / 2; ++i) {
    scores[i] = __fmul_rn(scores[i], scale);  // rounded, as where missing tokens are masked
    highest[i / 2 % 2] = fmaxf(highest[i / 2 % 2], scores[i]);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    highest[half] = fmaxf(highest[half], __shfl_xor_sync(~0u, highest[half], 1));
    highest[half] = fmaxf(highest[half], __shfl_xor_sync(~0u, highest[half], 2));
    shrink[half] = Exp2(run.highest[half] - highest[half]);
    run.highest[half] = highest[half];
  }
#pragma unroll
  for (int i = 0; i < kLatentBlockTokens / 2; ++i) scores[i] = Exp2(scores[i] - highest[i / 2 % 2]);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int pair = 0; pair < 8; ++pair) {
      const int first = pair / 2 * 8 + half * 2 + pair % 2;
      run.mass[half][pair] =
          fmaf(run.mass[half][pair], shrink[half], scores[first] + scores[first + 4]);
    }
  }
}

// The mass of a row. By the four lanes that share it.
__device__ __forceinline__ float MassOfRow(const float (&parts)[8]) {
  float mass[4];
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    mass[w] = parts[2 * w] + parts[2 * w + 1];
    mass[w] += __shfl_xor_sync(~0u, mass[w], 1);
    mass[w] += __shfl_xor_sync(~0u, mass[w], 2);
  }
  return (mass[0] + mass[1]) + (mass[2] + mass[3]);
}

// Makes the probabilities of all blocks. By one warpgroup.
__device__ __forceinline__ void MakeProbabilities(const MlaSplitArgs& args, Shared& shared) {
  const int lane = threadIdx.x % 32;
  const int own_row = threadIdx.x % kGroupThreads / 32 * 16 + lane / 4;
  const float scale = args.call.scale * kMlaLog2E;
  ItemCursor items(args.call, shared.first_item);
  BufferCursor at;
  bool is_first = true;
  Item item;
  for (uint32_t queries_phase = 0; items.Next(&item); queries_phase ^= 1) {
    Run run;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      run.highest[half] = kMlaLowest;
#pragma unroll
      for (float& part : run.mass[half]) part = 0;
    }
    BarrierWait(SharedAddress(&shared.queries_full), queries_phase);
    for (int block = 0; block < item.block_count; ++block) {
      float scores[kLatentBlockTokens / 2];
      float shrink[2];
      MultiplyKeys(shared, at, scores);
      if (lane == 0) BarrierArrive(SharedAddress(&shared.empty[at.buffer][0]));
      if (block + 1 == item.block_count && lane == 0)
        BarrierArrive(SharedAddress(&shared.queries_empty));
      Softmax(scale, scores, run, shrink);
      if (!is_first) NamedBarrierSync(kProbabilitiesUsed, kComputeThreads);
      is_first = false;
      uint8_t* const rows = shared.probabilities;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = own_row + half * 8;
        if (lane % 4 == 0) shared.shrink[row] = shrink[half];
#pragma unroll
        for (int j = 0; j < kLatentBlockTokens / 8; ++j) {
          *reinterpret_cast<uint32_t*>(rows + row * kPackedRowBytes + SwizzledPiece(row, j) * 16 +
                                       lane % 4 * 4) =
              PackBf16(scores[j * 4 + half * 2], scores[j * 4 + half * 2 + 1]);
        }
      }
      FenceAsyncProxy();
      NamedBarrierArrive(kProbabilitiesMade, kComputeThreads);
      at.Advance();
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float mass = MassOfRow(run.mass[half]);
      const int row = item.first_row + own_row + half * 8;
      const int sequence = row / args.call.heads;
      if (lane % 4 == 0)
        args.states[args.Row(sequence, item.split, row % args.call.heads)] = {run.highest[half],
                                                                              mass};
    }
  }
  if (!is_first)
    NamedBarrierSync(kProbabilitiesUsed, kComputeThreads);  // the last arrival's other half
}

// --- values
// -------------------------------------------------------------------------------------------------

// Of a thread's two rows, and half of its warpgroup's channels in each array.
using Sums = float[2][kOwnChannels / 4];

// sums = shrink * sums + probabilities * values: query rows by channels, from `first_tile` on.
__device__ __forceinline__ void AddBlock(Shared& shared, const BufferCursor& at, int first_tile,
                                         int own_row, Sums& sums) {
  const int lane = threadIdx.x % 32;
  const float shrink[2] = {shared.shrink[own_row], shared.shrink[own_row + 8]};
  if (__any_sync(~0u, shrink[0] != 1 || shrink[1] != 1)) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < kOwnChannels / 4; ++i) sums[n][i] *= shrink[i / 2 % 2];
    }
  }
  const uint32_t weights = TileDescriptor(SharedAddress(shared.probabilities));
  WgmmaFence();
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const uint32_t values = TransposedTileDescriptor(
        SharedAddress(shared.blocks[at.buffer][first_tile + 2 * n]), kCacheTileBytes);
#pragma unroll
    for (int k = 0; k < kLatentBlockTokens / 16; ++k)
      WgmmaTransposedB<kOwnChannels / 2>(sums[n], weights + k * 2, values + k * 128);
    WgmmaCommit();
  }
  WgmmaWait<1>();
  if (lane == 0) BarrierArrive(SharedAddress(&shared.empty[at.buffer][1]));
  WgmmaWait<0>();
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (float& sum : sums[n]) UseAfterWait(sum);
  }
  if (lane == 0) BarrierArrive(SharedAddress(&shared.empty[at.buffer][2]));
  NamedBarrierArrive(kProbabilitiesUsed, kComputeThreads);
}

// Writes a row's sums. The four lanes that share the row take part; neighbours trade pairs, so that
// together they write 64 bytes at a time.
__device__ __forceinline__ void StoreRow(const Sums& sums, int half, float* target) {
  const int lane = threadIdx.x % 4;
  const bool odd = lane % 2 == 1;
  target += lane % 2 * 8 + lane / 2 * 4;
#pragma unroll
  for (int j = 0; j < kOwnChannels / 8; j += 2) {
    const float* const first = &sums[j / 16][j % 16 * 4 + half * 2];
    const float* const second = first + 4;
    const float low = __shfl_xor_sync(~0u, odd ? first[0] : second[0], 1);
    const float high = __shfl_xor_sync(~0u, odd ? first[1] : second[1], 1);
    *reinterpret_cast<float4*>(target + j * 8) = odd ? make_float4(low, high, second[0], second[1])
                                                     : make_float4(first[0], first[1], low, high);
  }
}

// Weighs the values of all blocks. By each of two warpgroups, for half of the channels.
__device__ __forceinline__ void WeighValues(const MlaSplitArgs& args, Shared& shared, int half) {
  const int lane = threadIdx.x % 32;
  const int own_row = threadIdx.x % kGroupThreads / 32 * 16 + lane / 4;
  ItemCursor items(args.call, shared.first_item);
  BufferCursor at;
  Item item;
  Sums sums;
  while (items.Next(&item)) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (float& sum : sums[n]) sum = 0;
    }
    for (int block = 0; block < item.block_count; ++block) {
      NamedBarrierSync(kProbabilitiesMade, kComputeThreads);
      AddBlock(shared, at, half * (kMlaLatentTiles / 2), own_row, sums);
      at.Advance();
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = item.first_row + own_row + i * 8;
      const int64_t target_row = args.Row(row / args.call.heads, item.split, row % args.call.heads);
      StoreRow(sums, i, args.sums + target_row * kLatentChannels + half * kOwnChannels);
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    MlaPrefixKernel(const __grid_constant__ PrefixArgs args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int buffer = 0; buffer < kBuffers; ++buffer) {
      for (uint64_t& full : shared.full[buffer]) BarrierInit(SharedAddress(&full), 1);
      BarrierInit(SharedAddress(&shared.empty[buffer][0]), kGroupWarps);
      for (int part = 1; part < kParts; ++part)
        BarrierInit(SharedAddress(&shared.empty[buffer][part]), 2 * kGroupWarps);
    }
    BarrierInit(SharedAddress(&shared.queries_full), 1);
    BarrierInit(SharedAddress(&shared.queries_empty), kGroupWarps);
    BarrierInitFence();
  }
  WaitForPriorKernels();
  AllowDependentKernels();
  const MlaDecodeBf16Args& call = args.split.call;
  CountMlaItems(call.sequences / call.group_size, kThreads, shared.first_item, [&](int group) {
    const int splits = DivideUp(call.prefix_tokens[group], call.split_tokens);
    return splits * ItemCursor::RowTiles(call);
  });
  const int warpgroup = threadIdx.x / kGroupThreads;
  if (warpgroup == 0) {
    DecreaseRegisters<40>();
    if (threadIdx.x < 32) {
      RequestBlocks(call, shared);
    } else if (threadIdx.x == 32) {
      RequestQueries(args, shared);
    }
  } else if (warpgroup == 1) {
    IncreaseRegisters<136>();
    MakeProbabilities(args.split, shared);
  } else {
    IncreaseRegisters<168>();
    WeighValues(args.split, shared, warpgroup - 2);
  }
}

}  // namespace

cudaError_t MlaAttendPrefixes(const MlaSplitArgs& split, cudaStream_t stream) {
  const MlaDecodeBf16Args& call = split.call;
  PrefixArgs args = {.split = split, .q = {}};
  const cudaError_t error = MakeTensorMap(call.q, call.sequences * call.heads, kCacheChannels,
                                          kCacheChannels, kRows, &args.q);
  if (error != cudaSuccess) return error;
  return LaunchDependent(MlaPrefixKernel, MultiprocessorCount(), kThreads,
                         static_cast<int>(sizeof(Shared)), stream, args);
}

}  // namespace r1::kernels
