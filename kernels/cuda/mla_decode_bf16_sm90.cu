// MlaAttend: a block takes one item after the other, an item being a split of the cache and 16 query rows (the heads of a
// sequence), or 32 (of two sequences that share a prefix). Cached latents are on the 64-wide side of wgmma, as keys and,
// transposed, as values, so that 16 rows waste no work; the two warpgroups take blocks of 64 tokens in turn, each with its
// own running maximum and sums. MergeSplits puts the splits of a sequence together.
#include "kernels/cuda/mla_decode_bf16_sm90.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kGroupThreads = 128;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kQueryThreads = 96;   // warps 1 to 3
constexpr int kRowsOfBlock = 16;    // query rows that belong together: heads of one sequence
constexpr int kLatentTiles = kLatentChannels / 64;
constexpr int kExchangeFloats = 32 * kGroupThreads;
constexpr int kMergeThreads = 128;
constexpr int kSharedBytesMax = 227 << 10;
constexpr float kLog2E = 1.4426950408889634f;
// Stands for minus infinity, so that differences of two of them are numbers.
constexpr float kLowest = -1e30f;

// Sums of a split for one row, relative to 2^highest.
struct RowState {
  float highest;
  float mass;
};

struct KernelArgs {
  MlaDecodeBf16Args call;
  float* sums;       // [B][splits_max][H, L], relative to each row's highest score and not yet divided by its mass
  RowState* states;  // [B][splits_max][H]
  int splits_max;    // of a sequence, its prefix's included
};

__host__ __device__ constexpr int DivideUp(int a, int b) { return (a + b - 1) / b; }
// How a sequence is cut: its prefix into splits, then the rest. The same whether the prefix is shared or not.
struct Cuts {
  int prefix;
  int context;
  int prefix_splits;
  int splits;

  __device__ Cuts(const MlaDecodeBf16Args& call, int sequence)
      : prefix(call.prefix_tokens == nullptr ? 0 : call.prefix_tokens[sequence / call.group_size]),
        context(call.contexts[sequence]),
        prefix_splits(DivideUp(prefix, call.split_tokens)),
        splits(prefix_splits + DivideUp(context - prefix, call.split_tokens)) {}
};

// --- work ------------------------------------------------------------------------------------------------------------

template <int kRows>
struct Shared {
  // Tiles of the cache in flight: as many as fit.
  static constexpr int kSlots = kRows == 16 ? 22 : 20;

  uint8_t slots[kSlots][kCacheTileBytes];
  uint8_t queries[kCacheTiles][kRows * kPackedRowBytes];
  uint8_t probabilities[2][kRows * kPackedRowBytes];
  float exchange[kExchangeFloats];
  float warp_values[2][4][kRows];
  RowState states[2][kRows];
  uint64_t full[kSlots];
  uint64_t empty[kSlots];
  uint64_t turn[2];
  uint64_t queries_full;
  uint64_t queries_empty;
  int first_item[kMlaSequencesMax + 1];  // of each unit: a sequence, or a group with a shared prefix
};
static_assert(sizeof(Shared<16>) <= kSharedBytesMax);
static_assert(sizeof(Shared<32>) <= kSharedBytesMax);

// One split of the cache for kRows query rows.
struct Item {
  const int32_t* blocks;  // of the split
  int tokens;             // of the split, at least 1
  int row_block;          // first of kRows / 16 blocks of 16 rows; block r is of sequence r / (H / 16)
  int split;              // its number among the splits of each of its sequences
};

// Items of a unit: its splits times its groups of kRows rows, the rows fastest, so that blocks that run at the same time
// share the cache's bytes in L2.
template <int kRows>
class ItemCursor {
 public:
  __device__ ItemCursor(const MlaDecodeBf16Args& call, const int* first_item)
      : call_(call), first_item_(first_item), next_(blockIdx.x) {}

  static __device__ int Units(const MlaDecodeBf16Args& call) {
    return kRows == 16 ? call.sequences : call.sequences / call.group_size;
  }
  static __device__ int RowGroups(const MlaDecodeBf16Args& call) {
    return (kRows == 16 ? 1 : call.group_size) * call.heads / kRows;
  }
  static __device__ int FirstSequence(const MlaDecodeBf16Args& call, int unit) {
    return kRows == 16 ? unit : unit * call.group_size;
  }
  // Splits of the unit that this kernel attends: with 32 rows those of a shared prefix, with 16 all others.
  static __device__ int FirstSplit(const MlaDecodeBf16Args& call, const Cuts& cuts) {
    return kRows == 16 && call.group_size > 1 ? cuts.prefix_splits : 0;
  }
  static __device__ int EndSplit(const Cuts& cuts) { return kRows == 16 ? cuts.splits : cuts.prefix_splits; }

  __device__ bool Next(Item* item) {
    const int units = Units(call_);
    if (next_ >= first_item_[units]) return false;
    int low = 0;
    for (int high = units; high - low > 1;) {
      const int middle = (low + high) / 2;
      (first_item_[middle] <= next_ ? low : high) = middle;
    }
    const int in_unit = next_ - first_item_[low];
    const int sequence = FirstSequence(call_, low);
    const Cuts cuts(call_, sequence);
    item->split = FirstSplit(call_, cuts) + in_unit / RowGroups(call_);
    const bool of_prefix = item->split < cuts.prefix_splits;
    const int first_token = of_prefix ? item->split * call_.split_tokens
                                      : cuts.prefix + (item->split - cuts.prefix_splits) * call_.split_tokens;
    const int left = (of_prefix ? cuts.prefix : cuts.context) - first_token;
    item->blocks = call_.block_tables + int64_t{sequence} * call_.table_stride + first_token / kLatentBlockTokens;
    item->tokens = left < call_.split_tokens ? left : call_.split_tokens;
    item->row_block = sequence * (call_.heads / kRowsOfBlock) + in_unit % RowGroups(call_) * (kRows / kRowsOfBlock);
    next_ += gridDim.x;
    return true;
  }

 private:
  const MlaDecodeBf16Args& call_;
  const int* const first_item_;
  int next_;
};

// Fills shared.first_item. By the whole block.
template <int kRows>
__device__ void CountItems(const MlaDecodeBf16Args& call, Shared<kRows>& shared) {
  using Cursor = ItemCursor<kRows>;
  const int units = Cursor::Units(call);
  for (int unit = threadIdx.x; unit < units; unit += kThreads) {
    const Cuts cuts(call, Cursor::FirstSequence(call, unit));
    shared.first_item[unit] = (Cursor::EndSplit(cuts) - Cursor::FirstSplit(call, cuts)) * Cursor::RowGroups(call);
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    const int share = (units + 31) / 32;
    const int begin = static_cast<int>(threadIdx.x) * share < units ? static_cast<int>(threadIdx.x) * share : units;
    const int end = begin + share < units ? begin + share : units;
    int items = 0;
    for (int unit = begin; unit < end; ++unit) items += shared.first_item[unit];
    int total;
    items = WarpPrefix(items, &total);
    for (int unit = begin; unit < end; ++unit) {
      const int own = shared.first_item[unit];
      shared.first_item[unit] = items;
      items += own;
    }
    if (threadIdx.x == 0) shared.first_item[units] = total;
  }
  __syncthreads();
}

// A role's position among the slots. A block of tokens takes nine of them: rotary channels first, then latent ones.
template <int kRows>
class SlotCursor {
 public:
  explicit __device__ SlotCursor(Shared<kRows>& shared) : shared_(&shared) {}

  __device__ int slot() const { return slot_; }
  __device__ uint32_t tile() const { return SharedAddress(shared_->slots[slot_]); }
  __device__ uint32_t full() const { return SharedAddress(&shared_->full[slot_]); }
  __device__ uint32_t empty() const { return SharedAddress(&shared_->empty[slot_]); }
  __device__ void WaitFull() const { BarrierWait(full(), phase_); }
  __device__ void WaitEmpty() const { BarrierWait(empty(), phase_ ^ 1); }
  __device__ void Advance(int slots = 1) {
    slot_ += slots;
    if (slot_ >= Shared<kRows>::kSlots) {
      slot_ -= Shared<kRows>::kSlots;
      phase_ ^= 1;
    }
  }

 private:
  Shared<kRows>* shared_;
  int slot_ = 0;
  uint32_t phase_ = 0;
};

// --- producers -------------------------------------------------------------------------------------------------------

// Requests the tiles of every item's blocks. By the first warp.
template <int kRows>
__device__ __forceinline__ void RequestTiles(const MlaDecodeBf16Args& call, Shared<kRows>& shared) {
  const int lane = threadIdx.x;
  const uint64_t policy = kRows == 16 ? PolicyEvictFirst() : PolicyEvictNormal();
  ItemCursor<kRows> cursor(call, shared.first_item);
  SlotCursor<kRows> slots(shared);
  Item item;
  static_assert(kMlaSplitTokensMax / kLatentBlockTokens <= 32);
  while (cursor.Next(&item)) {
    const int blocks = DivideUp(item.tokens, kLatentBlockTokens);
    const int32_t own_block = lane < blocks ? item.blocks[lane] : 0;
    for (int b = 0; b < blocks; ++b) {
      const uint8_t* const block = call.cache + int64_t{__shfl_sync(~0u, own_block, b)} * kCacheBlockBytes;
      if (lane == 0) {
        for (int i = 0; i < kCacheTiles; ++i) {
          const int tile = i == 0 ? kLatentTiles : i - 1;
          slots.WaitEmpty();
          BarrierArriveExpectBytes(slots.full(), kCacheTileBytes);
          BulkCopy(slots.tile(), block + tile * kCacheTileBytes, kCacheTileBytes, slots.full(), policy);
          slots.Advance();
        }
      }
      __syncwarp();
    }
  }
}

// Brings every item's query rows. By warps 1 to 3.
template <int kRows>
__device__ __forceinline__ void RequestQueries(const MlaDecodeBf16Args& call, Shared<kRows>& shared) {
  constexpr int kPieces = kCacheChannels / 8;
  const int thread = threadIdx.x - 32;
  ItemCursor<kRows> cursor(call, shared.first_item);
  Item item;
  for (uint32_t phase = 1; cursor.Next(&item); phase ^= 1) {
    BarrierWait(SharedAddress(&shared.queries_empty), phase);
    const __nv_bfloat16* const rows = call.q + int64_t{item.row_block} * kRowsOfBlock * kCacheChannels;
    for (int i = thread; i < kRows * kPieces; i += kQueryThreads) {
      const int row = i / kPieces;
      const int piece = i % kPieces;
      const uint32_t tile = SharedAddress(shared.queries[piece / 8]);
      CopyAsync16(tile + row * kPackedRowBytes + SwizzledPiece(row, piece % 8) * 16, rows + i * 8);
    }
    CopyAsyncArrive(SharedAddress(&shared.queries_full));
  }
}

// --- one warpgroup's run of an item ----------------------------------------------------------------------------------

// Running sums of every second block: for each of a thread's columns (query rows) the highest score so far and this
// thread's part of the mass; and sums[d] = latent channels 64 d … 64 d + 63 by query rows, laid out as Wgmma says.
template <int kRows>
struct Run {
  static constexpr int kColumns = kRows / 4;  // of a thread: 8 * (i / 2) + 2 * (lane % 4) + i % 2

  float highest[kColumns];
  float mass[kColumns];
  float sums[kLatentTiles][kRows / 2];
};

// The value of each of the thread's columns, combined over the rows of the warpgroup by `combine`.
template <int kRows, typename Combine>
__device__ __forceinline__ void CombineRows(float (&values)[kRows / 4], float (&warp_values)[4][kRows], int barrier,
                                            Combine combine) {
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
#pragma unroll
    for (int distance = 4; distance < 32; distance *= 2) {
      values[i] = combine(values[i], __shfl_xor_sync(~0u, values[i], distance));
    }
    if (lane < 4) warp_values[warp][i / 2 * 8 + lane * 2 + i % 2] = values[i];
  }
  NamedBarrierSync(barrier, kGroupThreads);
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    const int column = i / 2 * 8 + lane % 4 * 2 + i % 2;
    values[i] = combine(combine(warp_values[0][column], warp_values[1][column]),
                        combine(warp_values[2][column], warp_values[3][column]));
  }
}

// Zeroes the values of tokens that do not exist, which may be anything: a probability of 0 would not silence them all.
template <int kRows>
__device__ __forceinline__ void ClearMissingTokens(Shared<kRows>& shared, SlotCursor<kRows> slots, int tokens) {
  for (int tile = 0; tile < kLatentTiles; ++tile) {
    slots.Advance();
    auto* const pieces = reinterpret_cast<uint4*>(shared.slots[slots.slot()]);
    for (int i = tokens * 8 + threadIdx.x % kGroupThreads; i < kLatentBlockTokens * 8; i += kGroupThreads) {
      pieces[i] = make_uint4(0, 0, 0, 0);
    }
  }
}

// Adds a block of `tokens` tokens to the run. `slots` stands at the block's first slot.
template <int kRows>
__device__ __forceinline__ void AddBlock(Shared<kRows>& shared, const SlotCursor<kRows>& slots, int tokens,
                                         int warpgroup, uint32_t turn_parity, float scale, Run<kRows>& run) {
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const bool signals = lane == 0;
  const int barrier = 1 + warpgroup;

  // Scores: tokens by query rows, in two sums that the tensor cores can work on at the same time.
  float scores[kRows / 2] = {};
  float more_scores[kRows / 2] = {};
  BarrierWait(SharedAddress(&shared.turn[warpgroup]), turn_parity);
  SlotCursor<kRows> position = slots;
#pragma unroll 1
  for (int i = 0; i < kCacheTiles; ++i) {
    const int tile = i == 0 ? kLatentTiles : i - 1;
    position.WaitFull();
    const uint32_t keys = TileDescriptor(position.tile());
    const uint32_t queries = TileDescriptor(SharedAddress(shared.queries[tile]));
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < 4; ++k) Wgmma<kRows>(k % 2 == 0 ? scores : more_scores, keys + k * 2, queries + k * 2);
    WgmmaCommit();
    position.Advance();
  }
  if (signals) BarrierArrive(SharedAddress(&shared.turn[warpgroup ^ 1]));
  WgmmaWait<0>();
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) {
    UseAfterWait(scores[i]);
    UseAfterWait(more_scores[i]);
    scores[i] += more_scores[i];
  }
  if (signals) BarrierArrive(slots.empty());

  // Probabilities, relative to the highest score so far.
  const int token = warp * 16 + lane / 4;
  float highest[kRows / 4];
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    float& first = scores[i / 2 * 4 + i % 2];
    float& second = scores[i / 2 * 4 + 2 + i % 2];
    first = token < tokens ? first * scale : kLowest;
    second = token + 8 < tokens ? second * scale : kLowest;
    highest[i] = fmaxf(first, second);
  }
  CombineRows<kRows>(highest, shared.warp_values[warpgroup], barrier, [](float a, float b) { return fmaxf(a, b); });
  float shrink[kRows / 4];
  bool shrinks = false;
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    highest[i] = fmaxf(highest[i], run.highest[i]);
    shrink[i] = exp2f(run.highest[i] - highest[i]);
    shrinks |= shrink[i] != 1;
    run.highest[i] = highest[i];
    float& first = scores[i / 2 * 4 + i % 2];
    float& second = scores[i / 2 * 4 + 2 + i % 2];
    first = exp2f(first - highest[i]);
    second = exp2f(second - highest[i]);
    run.mass[i] = run.mass[i] * shrink[i] + (first + second);
  }
  if (__any_sync(~0u, shrinks)) {
#pragma unroll
    for (int d = 0; d < kLatentTiles; ++d) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) run.sums[d][i] *= shrink[i / 4 * 2 + i % 2];
    }
  }
  // To shared memory as rows of 64 tokens.
  uint8_t* const rows = shared.probabilities[warpgroup];
#pragma unroll
  for (int j = 0; j < kRows / 8; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t pair = TransposeFragment(PackBf16(scores[4 * j + 2 * half], scores[4 * j + 2 * half + 1]));
      const int row = 8 * j + lane / 4;
      *reinterpret_cast<uint32_t*>(rows + row * kPackedRowBytes + SwizzledPiece(row, warp * 2 + half) * 16 +
                                   lane % 4 * 4) = pair;
    }
  }
  if (tokens < kLatentBlockTokens) ClearMissingTokens(shared, slots, tokens);
  FenceAsyncProxy();
  NamedBarrierSync(barrier, kGroupThreads);

  // Sums: latent channels by query rows.
  const uint32_t weights = TileDescriptor(SharedAddress(rows));
  position = slots;
  WgmmaFence();
#pragma unroll
  for (int half = 0; half < kLatentTiles; half += kLatentTiles / 2) {
    uint32_t values[kLatentTiles / 2];
#pragma unroll
    for (int d = 0; d < kLatentTiles / 2; ++d) {
      position.Advance();
      values[d] = TileDescriptor(position.tile());
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int d = 0; d < kLatentTiles / 2; ++d) {
        WgmmaTransposedA<kRows>(run.sums[half + d], values[d] + k * 128, weights + k * 2);
      }
    }
    WgmmaCommit();
  }
  position = slots;
  WgmmaWait<1>();
#pragma unroll
  for (int d = 0; d < kLatentTiles; ++d) {
    if (d == kLatentTiles / 2) WgmmaWait<0>();
    position.Advance();
    if (signals) BarrierArrive(position.empty());
  }
#pragma unroll
  for (int d = 0; d < kLatentTiles; ++d) {
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) UseAfterWait(run.sums[d][i]);
  }
}

// --- results ---------------------------------------------------------------------------------------------------------

// Merges the two warpgroups' runs into the first one's; the result does not depend on which of them had which blocks. In
// the end run.mass is the whole mass of each column.
template <int kRows>
__device__ __forceinline__ void MergeRuns(Shared<kRows>& shared, int warpgroup, Run<kRows>& run) {
  constexpr int kBothBarrier = 3;
  constexpr int kSums = kLatentTiles * kRows / 2;
  constexpr int kSumsAtOnce = kExchangeFloats / kGroupThreads;
  const int thread = threadIdx.x % kGroupThreads;
  const int lane = thread % 32;
  CombineRows<kRows>(run.mass, shared.warp_values[warpgroup], 1 + warpgroup, [](float a, float b) { return a + b; });
  if (thread < 4) {
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      shared.states[warpgroup][i / 2 * 8 + lane * 2 + i % 2] = {run.highest[i], run.mass[i]};
    }
  }
  NamedBarrierSync(kBothBarrier, 2 * kGroupThreads);
  float factor[kRows / 4];
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    const RowState other = shared.states[warpgroup ^ 1][i / 2 * 8 + lane % 4 * 2 + i % 2];
    const float highest = fmaxf(run.highest[i], other.highest);
    factor[i] = exp2f(run.highest[i] - highest);
    // No fused multiply-add: it would round the two differently.
    run.mass[i] = __fadd_rn(__fmul_rn(run.mass[i], factor[i]), __fmul_rn(other.mass, exp2f(other.highest - highest)));
    run.highest[i] = highest;
  }
#pragma unroll
  for (int first = 0; first < kSums; first += kSumsAtOnce) {
    if (warpgroup == 1) {
#pragma unroll
      for (int i = 0; i < kSumsAtOnce; ++i) {
        const int s = (first + i) % (kRows / 2);
        shared.exchange[i * kGroupThreads + thread] =
            __fmul_rn(run.sums[(first + i) / (kRows / 2)][s], factor[s / 4 * 2 + s % 2]);
      }
    }
    NamedBarrierSync(kBothBarrier, 2 * kGroupThreads);
    if (warpgroup == 0) {
#pragma unroll
      for (int i = 0; i < kSumsAtOnce; ++i) {
        const int s = (first + i) % (kRows / 2);
        float& sum = run.sums[(first + i) / (kRows / 2)][s];
        sum = __fadd_rn(__fmul_rn(sum, factor[s / 4 * 2 + s % 2]), shared.exchange[i * kGroupThreads + thread]);
      }
    }
    NamedBarrierSync(kBothBarrier, 2 * kGroupThreads);
  }
}

// Writes an item's merged sums: the result itself when the sequence has no other split, otherwise for MergeSplits. By the
// first warpgroup.
template <int kRows>
__device__ __forceinline__ void StoreItem(const KernelArgs& args, const Item& item, const Run<kRows>& run) {
  const MlaDecodeBf16Args& call = args.call;
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const int blocks_of_sequence = call.heads / kRowsOfBlock;
#pragma unroll
  for (int block = 0; block < kRows / kRowsOfBlock; ++block) {
    const int row_block = item.row_block + block;
    const int sequence = row_block / blocks_of_sequence;
    const int head = row_block % blocks_of_sequence * kRowsOfBlock;
    if (Cuts(call, sequence).splits == 1) {
      __nv_bfloat16* const out = call.out + (int64_t{sequence} * call.heads + head) * kLatentChannels;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int column = block * 4 + j * 2;
        const float low = 1 / run.mass[column];
        const float high = 1 / run.mass[column + 1];
#pragma unroll
        for (int d = 0; d < kLatentTiles; ++d) {
          const float* const sums = &run.sums[d][(block * 2 + j) * 4];
          const uint32_t first = TransposeFragment(PackBf16(sums[0] * low, sums[1] * high));
          const uint32_t second = TransposeFragment(PackBf16(sums[2] * low, sums[3] * high));
          auto* const target = reinterpret_cast<uint32_t*>(out + (8 * j + lane / 4) * kLatentChannels + d * 64 +
                                                           warp * 16 + lane % 4 * 2);
          target[0] = first;
          target[4] = second;
        }
      }
    } else {
      const int64_t row = (int64_t{sequence} * args.splits_max + item.split) * call.heads + head;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int own_row = i / 2 * 8 + lane % 4 * 2 + i % 2;
        if (warp == 0 && lane < 4) {
          args.states[row + own_row] = {run.highest[block * 4 + i], run.mass[block * 4 + i]};
        }
        float* const target = args.sums + (row + own_row) * kLatentChannels + warp * 16 + lane / 4;
#pragma unroll
        for (int d = 0; d < kLatentTiles; ++d) {
          target[d * 64] = run.sums[d][(block * 2 + i / 2) * 4 + i % 2];
          target[d * 64 + 8] = run.sums[d][(block * 2 + i / 2) * 4 + 2 + i % 2];
        }
      }
    }
  }
}

template <int kRows>
__device__ __forceinline__ void Attend(const KernelArgs& args, Shared<kRows>& shared) {
  const int warpgroup = threadIdx.x / kGroupThreads - 1;
  const float scale = args.call.scale * kLog2E;
  ItemCursor<kRows> cursor(args.call, shared.first_item);
  SlotCursor<kRows> slots(shared);
  Item item;
  int turn = 0;                                    // whose block is next
  uint32_t turn_parity = warpgroup == 0 ? 1 : 0;  // the first warpgroup need not wait for its first turn
  for (uint32_t queries_parity = 0; cursor.Next(&item); queries_parity ^= 1) {
    Run<kRows> run;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      run.highest[i] = kLowest;
      run.mass[i] = 0;
    }
#pragma unroll
    for (int d = 0; d < kLatentTiles; ++d) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) run.sums[d][i] = 0;
    }
    BarrierWait(SharedAddress(&shared.queries_full), queries_parity);
    FenceAsyncProxy();  // queries arrive by ordinary asynchronous copies
    for (int left = item.tokens; left > 0; left -= kLatentBlockTokens, turn ^= 1) {
      if (turn == warpgroup) {
        const int tokens = left < kLatentBlockTokens ? left : kLatentBlockTokens;
        AddBlock(shared, slots, tokens, warpgroup, turn_parity, scale, run);
        turn_parity ^= 1;
      }
      slots.Advance(kCacheTiles);
    }
    if (threadIdx.x % 32 == 0) BarrierArrive(SharedAddress(&shared.queries_empty));
    MergeRuns(shared, warpgroup, run);
    if (warpgroup == 0) StoreItem(args, item, run);
  }
}

template <int kRows>
__global__ void __launch_bounds__(kThreads, 1) MlaAttendKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared<kRows>*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < Shared<kRows>::kSlots; ++slot) {
      BarrierInit(SharedAddress(&shared.full[slot]), 1);
      BarrierInit(SharedAddress(&shared.empty[slot]), 4);
    }
    BarrierInit(SharedAddress(&shared.turn[0]), 4);
    BarrierInit(SharedAddress(&shared.turn[1]), 4);
    BarrierInit(SharedAddress(&shared.queries_full), kQueryThreads);
    BarrierInit(SharedAddress(&shared.queries_empty), 8);
    BarrierInitFence();
  }
  WaitForPriorKernels();
  AllowDependentKernels();
  CountItems(args.call, shared);
  if (threadIdx.x < kGroupThreads) {
    DecreaseRegisters<72>();
    if (threadIdx.x < 32) {
      RequestTiles(args.call, shared);
    } else {
      RequestQueries(args.call, shared);
    }
  } else {
    IncreaseRegisters<216>();
    Attend(args, shared);
  }
}

// out of a sequence with several splits: a warp a row, 16 channels a lane.
__global__ void __launch_bounds__(kMergeThreads) MergeSplitsKernel(const __grid_constant__ KernelArgs args) {
  AllowDependentKernels();
  WaitForPriorKernels();
  const MlaDecodeBf16Args& call = args.call;
  const int64_t row = (int64_t{blockIdx.x} * kMergeThreads + threadIdx.x) / 32;
  const int sequence = static_cast<int>(row / call.heads);
  const int lane = threadIdx.x % 32;
  if (sequence >= call.sequences) return;
  const int splits = Cuts(call, sequence).splits;
  if (splits == 1) return;
  const int64_t first = int64_t{sequence} * args.splits_max * call.heads + row % call.heads;
  float highest = kLowest;
  for (int split = 0; split < splits; ++split) {
    highest = fmaxf(highest, args.states[first + int64_t{split} * call.heads].highest);
  }
  float mass = 0;
  float sums[16] = {};
#pragma unroll 2
  for (int split = 0; split < splits; ++split) {
    const int64_t split_row = first + int64_t{split} * call.heads;
    const RowState state = args.states[split_row];
    const float factor = exp2f(state.highest - highest);
    mass = fmaf(state.mass, factor, mass);
    const auto* const values = reinterpret_cast<const float4*>(args.sums + split_row * kLatentChannels) + lane;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 value = __ldcs(values + i * 32);
      sums[4 * i] = fmaf(value.x, factor, sums[4 * i]);
      sums[4 * i + 1] = fmaf(value.y, factor, sums[4 * i + 1]);
      sums[4 * i + 2] = fmaf(value.z, factor, sums[4 * i + 2]);
      sums[4 * i + 3] = fmaf(value.w, factor, sums[4 * i + 3]);
    }
  }
  const float scale = 1 / mass;
  auto* const out = reinterpret_cast<uint2*>(call.out + row * kLatentChannels) + lane;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[i * 32] = make_uint2(PackBf16(sums[4 * i] * scale, sums[4 * i + 1] * scale),
                             PackBf16(sums[4 * i + 2] * scale, sums[4 * i + 3] * scale));
  }
}

// Of a sequence: a prefix and the rest may each end in a split that is not full.
int SplitsMax(int contexts_max, int split_tokens) { return DivideUp(contexts_max, split_tokens) + 1; }

template <int kRows>
cudaError_t LaunchAttend(const KernelArgs& args, cudaStream_t stream) {
  return LaunchDependent(MlaAttendKernel<kRows>, MultiprocessorCount(), kThreads,
                         static_cast<int>(sizeof(Shared<kRows>)), stream, args);
}

}  // namespace

int MlaDecodeBf16Sm90FastSplit(int sequences, int heads, int contexts_max) {
  const int items = sequences * (heads / kRowsOfBlock) * contexts_max;  // of one token
  int split_tokens = kMlaSplitTokensMax;
  while (split_tokens > 2 * kLatentBlockTokens && items / split_tokens < 2 * MultiprocessorCount()) split_tokens /= 2;
  return split_tokens;
}

int64_t MlaDecodeBf16Sm90WorkspaceBytes(int sequences, int heads, int contexts_max, int split_tokens) {
  const int64_t rows = int64_t{sequences} * SplitsMax(contexts_max, split_tokens) * heads;
  return rows * static_cast<int64_t>(kLatentChannels * sizeof(float) + sizeof(RowState));
}

cudaError_t MlaDecodeBf16Sm90(const MlaDecodeBf16Args& call, cudaStream_t stream) {
  if (call.sequences < 1 || call.sequences > kMlaSequencesMax) return cudaErrorInvalidValue;
  if (call.heads < kRowsOfBlock || call.heads % kRowsOfBlock != 0) return cudaErrorInvalidValue;
  if (call.contexts_max < 1 || call.group_size < 1) return cudaErrorInvalidValue;
  if (call.split_tokens < kLatentBlockTokens || call.split_tokens > kMlaSplitTokensMax) return cudaErrorInvalidValue;
  if (call.split_tokens % kLatentBlockTokens != 0) return cudaErrorInvalidValue;
  if (call.group_size > 1) {
    if (call.group_size % 2 != 0 || call.sequences % call.group_size != 0) return cudaErrorInvalidValue;
    if (call.prefix_tokens == nullptr) return cudaErrorInvalidValue;
  }
  const int splits_max = SplitsMax(call.contexts_max, call.split_tokens);
  auto* const sums = static_cast<float*>(call.workspace);
  const int64_t rows = int64_t{call.sequences} * splits_max * call.heads;
  const KernelArgs args = {.call = call,
                           .sums = sums,
                           .states = reinterpret_cast<RowState*>(sums + rows * kLatentChannels),
                           .splits_max = splits_max};
  if (call.group_size > 1) {
    const cudaError_t error = LaunchAttend<2 * kRowsOfBlock>(args, stream);
    if (error != cudaSuccess) return error;
  }
  const cudaError_t error = LaunchAttend<kRowsOfBlock>(args, stream);
  if (error != cudaSuccess) return error;
  // Nothing to merge: no sequence can have a second split.
  if (call.prefix_tokens == nullptr && call.contexts_max <= call.split_tokens) return cudaSuccess;
  const int blocks = DivideUp(call.sequences * call.heads * 32, kMergeThreads);
  return LaunchDependent(MergeSplitsKernel, blocks, kMergeThreads, 0, stream, args);
}

}  // namespace r1::kernels
