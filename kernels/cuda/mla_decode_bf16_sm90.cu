// MlaAttend: cached latents are on the 64-wide side of wgmma, as keys and, transposed, as values,
// so that 16 query rows waste no work. A warpgroup takes one item after the other: a split of the
// cache for 16 rows, the heads of one sequence. The two warpgroups of a block work on different
// items whose cache blocks stream through shared memory in turn, so that one's softmax hides behind
// the other's products; blocks with which both items begin, those of a common prompt, stream once
// for both. Splits of shared prefixes are the affair of mla_prefix_bf16_sm90.cu. MergeSplits puts
// the splits of a sequence together.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mla_prefix_bf16_sm90.h"
#include "kernels/cuda/mla_splits.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kGroupThreads = 128;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kAttendWarps = 2 * kGroupThreads / 32;  // each has done with a slot, or passed it by
constexpr int kRows = 16;                             // of an item: heads of one sequence
constexpr int kSlots = 22;  // tiles of the cache in flight: as many as fit
constexpr int kMergeThreads = 128;
// Up to here a row gets several warps when splits are merged: all rows' blocks then run at once.
constexpr int kMergeFewRows = 512;
constexpr int kSharedBytesMax = 227 << 10;

// --- work
// -------------------------------------------------------------------------------------------------

struct Shared {
  uint8_t slots[kSlots][kCacheTileBytes];
  uint8_t queries[2][kCacheTiles][kRows * kPackedRowBytes];
  uint8_t probabilities[2][kRows * kPackedRowBytes];
  float warp_values[2][4][kRows];
  uint64_t full[kSlots];
  uint64_t empty[kSlots];
  uint64_t queries_full[2];
  uint64_t queries_empty[2];
  int first_item[kMlaSequencesMax + 1];  // of each sequence
};
static_assert(sizeof(Shared) <= kSharedBytesMax);

// One split of the cache for a warpgroup's rows.
struct Item {
  const int32_t* blocks;  // of the split
  int tokens;             // of the split, at least 1
  int row_block;          // of 16 rows; block r is of sequence r / (H / 16)
  int split;              // its number among the splits of its sequence
};

// Splits that are not attended here but once for a group.
__device__ __forceinline__ int SharedSplits(const MlaDecodeBf16Args& call, const MlaCuts& cuts) {
  return call.group_size > 1 ? cuts.prefix_splits : 0;
}

// A warpgroup's items. A sequence has its splits times its blocks of rows, the rows fastest, so
// that what runs at the same time shares the cache's bytes in L2.
class ItemCursor {
 public:
  __device__ ItemCursor(const MlaDecodeBf16Args& call, const int* first_item, int warpgroup)
      : call_(call), first_item_(first_item), next_(First(first_item[call.sequences], warpgroup)) {}

  // Neighbours go to one block, where there is more than an item for each.
  static __device__ int First(int items, int warpgroup) {
    const int block = static_cast<int>(blockIdx.x);
    const int blocks = static_cast<int>(gridDim.x);
    return items > blocks ? 2 * block + warpgroup : block + warpgroup * blocks;
  }

  __device__ bool Next(Item* item) {
    if (next_ >= first_item_[call_.sequences]) return false;
    const int sequence = UnitOfMlaItem(first_item_, call_.sequences, next_);
    const int row_blocks = call_.heads / kRows;
    const int in_sequence = next_ - first_item_[sequence];
    const MlaCuts cuts(call_, sequence);
    item->split = SharedSplits(call_, cuts) + in_sequence / row_blocks;
    const bool of_prefix = item->split < cuts.prefix_splits;
    const int first_token =
        of_prefix ? item->split * call_.split_tokens
                  : cuts.prefix + (item->split - cuts.prefix_splits) * call_.split_tokens;
    const int left = (of_prefix ? cuts.prefix : cuts.context) - first_token;
    item->blocks = call_.block_tables + int64_t{sequence} * call_.table_stride +
                   first_token / kLatentBlockTokens;
    item->tokens = left < call_.split_tokens ? left : call_.split_tokens;
    item->row_block = sequence * row_blocks + in_sequence % row_blocks;
    next_ += gridDim.x * 2;
    return true;
  }

 private:
  const MlaDecodeBf16Args& call_;
  const int* const first_item_;
  int next_;
};

constexpr int kBothWarpgroups = 2;

// The order in which cache blocks stream through the slots, walked by every role, each with whole
// warps: the warpgroups' items by pairs, first the blocks that both have, then those of each in
// turn, then what one has left.
class BlockOrder {
 public:
  // `own`: whose item Next gives where a block is for both.
  __device__ BlockOrder(const MlaDecodeBf16Args& call, const int* first_item, int own)
      : cursors_{{call, first_item, 0}, {call, first_item, 1}}, own_(own) {}

  // Moves to the next block: it is number `block` of `item`, for `warpgroup` or kBothWarpgroups.
  // False at the end.
  __device__ bool Next(Item* item, int* block, int* warpgroup) {
    if (left_[0] == 0 && left_[1] == 0 && !TakePair()) return false;
    if (common_ > 0) {
      *item = own_ == 0 ? items_[0] : items_[1];
      *block = block_[0];
      *warpgroup = kBothWarpgroups;
      --common_;
      Pass<0>();
      Pass<1>();
      return true;
    }
    const bool second = left_[0] == 0 || (turn_ == 1 && left_[1] > 0);
    *item = second ? items_[1] : items_[0];
    *block = second ? block_[1] : block_[0];
    *warpgroup = second ? 1 : 0;
    turn_ = second ? 0 : 1;
    if (second) {
      Pass<1>();
    } else {
      Pass<0>();
    }
    return true;
  }

  // In the cache; of the block that Next gave, for any of its warpgroups.
  __device__ int32_t Index(int block, int warpgroup) const {
    return __shfl_sync(~0u, warpgroup == 1 ? indexes_[1] : indexes_[0], block);
  }

 private:
  // Registers need indexes that are known to the compiler.
  template <int kWarpgroup>
  __device__ void Pass() {
    ++block_[kWarpgroup];
    --left_[kWarpgroup];
  }
  template <int kWarpgroup>
  __device__ bool Take() {
    static_assert(kMlaSplitTokensMax / kLatentBlockTokens <= 32);
    Item& item = items_[kWarpgroup];
    const int lane = threadIdx.x % 32;
    block_[kWarpgroup] = 0;
    left_[kWarpgroup] = 0;
    if (!cursors_[kWarpgroup].Next(&item)) return false;
    left_[kWarpgroup] = DivideUp(item.tokens, kLatentBlockTokens);
    indexes_[kWarpgroup] = lane < left_[kWarpgroup] ? item.blocks[lane] : 0;
    return true;
  }
  __device__ bool TakePair() {
    turn_ = 0;
    common_ = 0;
    if (!Take<0>()) return false;
    if (Take<1>()) {
      const int whole = min(items_[0].tokens, items_[1].tokens) / kLatentBlockTokens;
      const bool same = static_cast<int>(threadIdx.x % 32) < whole && indexes_[0] == indexes_[1];
      common_ = __ffs(~__ballot_sync(~0u, same)) - 1;
      if (common_ < 0) common_ = 32;
    }
    return true;
  }

  ItemCursor cursors_[2];
  const int own_;
  Item items_[2];
  int32_t indexes_[2] = {};  // of an item's blocks, one a lane
  int block_[2] = {0, 0};    // the next one of each item
  int left_[2] = {0, 0};
  int common_ = 0;  // blocks to come that are for both
  int turn_ = 0;
};

// A role's position among the slots. A block of tokens takes kCacheTiles of them: rotary channels
// first, then latent ones.
class SlotCursor {
 public:
  explicit __device__ SlotCursor(Shared& shared) : shared_(&shared) {}

  // Of the block's slot i.
  __device__ uint8_t* data(int i) const { return shared_->slots[Slot(i)]; }
  __device__ uint32_t tile(int i) const { return SharedAddress(data(i)); }
  __device__ uint32_t full(int i) const { return SharedAddress(&shared_->full[Slot(i)]); }
  __device__ void WaitEmpty(int i) const {
    BarrierWait(SharedAddress(&shared_->empty[Slot(i)]), Phase(i) ^ 1);
  }
  // By a whole warp, a slot a lane: one after the other they took as long as a tile's products.
  __device__ void WaitFull() const {
    const int lane = threadIdx.x % 32;
    if (lane < kCacheTiles) BarrierWait(full(lane), Phase(lane));
    __syncwarp();
  }
  __device__ void Release(int begin, int end) const {
    const int lane = threadIdx.x % 32;
    __syncwarp();
    if (lane >= begin && lane < end) BarrierArrive(SharedAddress(&shared_->empty[Slot(lane)]));
  }
  __device__ void NextBlock() {
    phase_ = Phase(kCacheTiles);
    first_ = Slot(kCacheTiles);
  }

 private:
  static_assert(kSlots >= kCacheTiles);
  __device__ int Slot(int i) const {
    return first_ + i < kSlots ? first_ + i : first_ + i - kSlots;
  }
  __device__ uint32_t Phase(int i) const { return first_ + i < kSlots ? phase_ : phase_ ^ 1; }

  Shared* shared_;
  int first_ = 0;
  uint32_t phase_ = 0;
};

// --- producers
// -------------------------------------------------------------------------------------------------

// Requests the tiles of all blocks. By the first warp.
__device__ __forceinline__ void RequestTiles(const MlaDecodeBf16Args& call, Shared& shared) {
  const int lane = threadIdx.x;
  BlockOrder order(call, shared.first_item, 0);
  SlotCursor slots(shared);
  bool waits = call.begins_early;
  Item item;
  int number;
  int warpgroup;
  while (order.Next(&item, &number, &warpgroup)) {
    if (waits && (number + 1) * kLatentBlockTokens >= item.tokens) {
      WaitForPriorKernels();
      waits = false;
    }
    const uint8_t* const block =
        call.cache + int64_t{order.Index(number, warpgroup)} * kCacheBlockBytes;
    // What two sequences share others may share too.
    const uint64_t policy = warpgroup == kBothWarpgroups ? PolicyEvictNormal() : PolicyEvictFirst();
    if (lane == 0) {
      for (int i = 0; i < kCacheTiles; ++i) {
        const int tile = i == 0 ? kMlaLatentTiles : i - 1;
        slots.WaitEmpty(i);
        BarrierArriveExpectBytes(slots.full(i), kCacheTileBytes);
        BulkCopy(slots.tile(i), block + tile * kCacheTileBytes, kCacheTileBytes, slots.full(i),
                 policy);
      }
    }
    slots.NextBlock();
    __syncwarp();
  }
}

// Brings the query rows of every item of a warpgroup. By one warp.
__device__ __forceinline__ void RequestQueries(const MlaDecodeBf16Args& call, Shared& shared,
                                               int warpgroup) {
  constexpr int kPieces = kCacheChannels / 8;
  if (call.begins_early) WaitForPriorKernels();
  ItemCursor cursor(call, shared.first_item, warpgroup);
  Item item;
  for (uint32_t phase = 1; cursor.Next(&item); phase ^= 1) {
    BarrierWait(SharedAddress(&shared.queries_empty[warpgroup]), phase);
    const __nv_bfloat16* const rows = call.q + int64_t{item.row_block} * kRows * kCacheChannels;
    for (int i = threadIdx.x % 32; i < kRows * kPieces; i += 32) {
      const int row = i / kPieces;
      const int piece = i % kPieces;
      const uint32_t tile = SharedAddress(shared.queries[warpgroup][piece / 8]);
      CopyAsync16(tile + row * kPackedRowBytes + SwizzledPiece(row, piece % 8) * 16, rows + i * 8);
    }
    CopyAsyncArrive(SharedAddress(&shared.queries_full[warpgroup]));
  }
}

// --- a warpgroup's run over an item
// ----------------------------------------------------------------------------------

// Running sums: for each of a thread's columns (query rows) the highest score so far and this
// thread's part of the mass; and sums[d] = latent channels 64 d … 64 d + 63 by query rows, laid out
// as Wgmma says.
struct Run {
  float highest[kRows / 4];  // column i: 8 * (i / 2) + 2 * (lane % 4) + i % 2
  float mass[kRows / 4];
  float sums[kMlaLatentTiles][kRows / 2];

  __device__ void Clear() {
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      highest[i] = kMlaLowest;
      mass[i] = 0;
    }
#pragma unroll
    for (int d = 0; d < kMlaLatentTiles; ++d) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) sums[d][i] = 0;
    }
  }
};

// The value of each of the thread's columns, combined over the rows of the warpgroup by `combine`.
template <typename Combine>
__device__ __forceinline__ void CombineRows(float (&values)[kRows / 4],
                                            float (&warp_values)[4][kRows], int barrier,
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

// Zeroes the values of tokens that do not exist, which may be anything: a probability of 0 would
// not silence them all.
__device__ __forceinline__ void ClearMissingTokens(const SlotCursor& slots, int tokens) {
  for (int tile = 0; tile < kMlaLatentTiles; ++tile) {
    auto* const pieces = reinterpret_cast<uint4*>(slots.data(1 + tile));
    for (int i = tokens * 8 + threadIdx.x % kGroupThreads; i < kLatentBlockTokens * 8;
         i += kGroupThreads) {
      pieces[i] = make_uint4(0, 0, 0, 0);
    }
  }
}

// Adds a block of `tokens` tokens to the run. `slots` stands at the block's first slot.
__device__ __forceinline__ void AddBlock(Shared& shared, const SlotCursor& slots, int tokens,
                                         int warpgroup, float scale, Run& run) {
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const int barrier = 1 + warpgroup;

  // Scores: tokens by query rows, in two sums that the tensor cores can work on at the same time.
  float scores[kRows / 2] = {};
  float more_scores[kRows / 2] = {};
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) {  // zeroed here, not by the compiler between the products
    UseAfterWait(scores[i]);
    UseAfterWait(more_scores[i]);
  }
  slots.WaitFull();
  WgmmaFence();
#pragma unroll
  for (int i = 0; i < kCacheTiles; ++i) {
    const int tile = i == 0 ? kMlaLatentTiles : i - 1;
    const uint32_t keys = TileDescriptor(slots.tile(i));
    const uint32_t queries = TileDescriptor(SharedAddress(shared.queries[warpgroup][tile]));
#pragma unroll
    for (int k = 0; k < 4; ++k)
      Wgmma<kRows>(k % 2 == 0 ? scores : more_scores, keys + k * 2, queries + k * 2);
  }
  WgmmaCommit();
  WgmmaWait<0>();
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) {
    UseAfterWait(scores[i]);
    UseAfterWait(more_scores[i]);
    scores[i] += more_scores[i];
  }
  slots.Release(0, 1);

  // Probabilities, relative to the highest score so far.
  const int token = warp * 16 + lane / 4;
  float highest[kRows / 4];
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    float& first = scores[i / 2 * 4 + i % 2];
    float& second = scores[i / 2 * 4 + 2 + i % 2];
    first = token < tokens ? first * scale : kMlaLowest;
    second = token + 8 < tokens ? second * scale : kMlaLowest;
    highest[i] = fmaxf(first, second);
  }
  CombineRows(highest, shared.warp_values[warpgroup], barrier,
              [](float a, float b) { return fmaxf(a, b); });
  float shrink[kRows / 4];
  bool shrinks = false;
#pragma unroll
  for (int i = 0; i < kRows / 4; ++i) {
    highest[i] = fmaxf(highest[i], run.highest[i]);
    shrink[i] = Exp2(run.highest[i] - highest[i]);
    shrinks |= shrink[i] != 1;
    run.highest[i] = highest[i];
    float& first = scores[i / 2 * 4 + i % 2];
    float& second = scores[i / 2 * 4 + 2 + i % 2];
    first = Exp2(first - highest[i]);
    second = Exp2(second - highest[i]);
    run.mass[i] = run.mass[i] * shrink[i] + (first + second);
  }
  if (__any_sync(~0u, shrinks)) {
#pragma unroll
    for (int d = 0; d < kMlaLatentTiles; ++d) {
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
      const uint32_t pair =
          TransposeFragment(PackBf16(scores[4 * j + 2 * half], scores[4 * j + 2 * half + 1]));
      const int row = 8 * j + lane / 4;
      *reinterpret_cast<uint32_t*>(rows + row * kPackedRowBytes +
                                   SwizzledPiece(row, warp * 2 + half) * 16 + lane % 4 * 4) = pair;
    }
  }
  if (tokens < kLatentBlockTokens) ClearMissingTokens(slots, tokens);
  FenceAsyncProxy();
  NamedBarrierSync(barrier, kGroupThreads);

  // Sums: latent channels by query rows.
  const uint32_t weights = TileDescriptor(SharedAddress(rows));
  WgmmaFence();
#pragma unroll
  for (int half = 0; half < kMlaLatentTiles; half += kMlaLatentTiles / 2) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int d = half; d < half + kMlaLatentTiles / 2; ++d) {
        WgmmaTransposedA<kRows>(run.sums[d], TileDescriptor(slots.tile(1 + d)) + k * 128,
                                weights + k * 2);
      }
    }
    WgmmaCommit();
  }
  WgmmaWait<1>();
  slots.Release(1, 1 + kMlaLatentTiles / 2);
  WgmmaWait<0>();
  slots.Release(1 + kMlaLatentTiles / 2, kCacheTiles);
#pragma unroll
  for (int d = 0; d < kMlaLatentTiles; ++d) {
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) UseAfterWait(run.sums[d][i]);
  }
}

// --- results
// -------------------------------------------------------------------------------------------------

// Writes an item's sums: the result itself when the sequence has no other split, otherwise for
// MergeSplits. run.mass is the whole mass of each column.
__device__ __forceinline__ void StoreItem(const MlaSplitArgs& args, const Item& item,
                                          const Run& run) {
  const MlaDecodeBf16Args& call = args.call;
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const int blocks_of_sequence = call.heads / kRows;
  const int sequence = item.row_block / blocks_of_sequence;
  const int head = item.row_block % blocks_of_sequence * kRows;
  if (MlaCuts(call, sequence).splits == 1) {
    __nv_bfloat16* const out = call.out + (int64_t{sequence} * call.heads + head) * kLatentChannels;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float low = 1 / run.mass[j * 2];
      const float high = 1 / run.mass[j * 2 + 1];
#pragma unroll
      for (int d = 0; d < kMlaLatentTiles; ++d) {
        const float* const sums = &run.sums[d][j * 4];
        const uint32_t first = TransposeFragment(PackBf16(sums[0] * low, sums[1] * high));
        const uint32_t second = TransposeFragment(PackBf16(sums[2] * low, sums[3] * high));
        auto* const target = reinterpret_cast<uint32_t*>(
            out + (8 * j + lane / 4) * kLatentChannels + d * 64 + warp * 16 + lane % 4 * 2);
        target[0] = first;
        target[4] = second;
      }
    }
  } else {
    const int64_t row = args.Row(sequence, item.split, head);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int own_row = i / 2 * 8 + lane % 4 * 2 + i % 2;
      if (warp == 0 && lane < 4) args.states[row + own_row] = {run.highest[i], run.mass[i]};
      float* const target = args.sums + (row + own_row) * kLatentChannels + warp * 16 + lane / 4;
#pragma unroll
      for (int d = 0; d < kMlaLatentTiles; ++d) {
        target[d * 64] = run.sums[d][i / 2 * 4 + i % 2];
        target[d * 64 + 8] = run.sums[d][i / 2 * 4 + 2 + i % 2];
      }
    }
  }
}

__device__ __forceinline__ void Attend(const MlaSplitArgs& args, Shared& shared) {
  const int own_warpgroup = threadIdx.x / kGroupThreads - 1;
  const float scale = args.call.scale * kMlaLog2E;
  BlockOrder order(args.call, shared.first_item, own_warpgroup);
  SlotCursor slots(shared);
  Run run;
  Item item;
  int number;
  int warpgroup;
  uint32_t queries_parity = 0;
  while (order.Next(&item, &number, &warpgroup)) {
    const int left = item.tokens - number * kLatentBlockTokens;
    if (warpgroup == kBothWarpgroups || warpgroup == own_warpgroup) {
      if (number == 0) {
        run.Clear();
        BarrierWait(SharedAddress(&shared.queries_full[own_warpgroup]), queries_parity);
        queries_parity ^= 1;
        FenceAsyncProxy();  // queries arrive by ordinary asynchronous copies
      }
      AddBlock(shared, slots, left < kLatentBlockTokens ? left : kLatentBlockTokens, own_warpgroup,
               scale, run);
      if (left <= kLatentBlockTokens) {
        if (threadIdx.x % 32 == 0)
          BarrierArrive(SharedAddress(&shared.queries_empty[own_warpgroup]));
        CombineRows(run.mass, shared.warp_values[own_warpgroup], 1 + own_warpgroup,
                    [](float a, float b) { return a + b; });
        StoreItem(args, item, run);
      }
    } else {
      // Not this warpgroup's, but no slot is filled anew before it has seen this use: barriers tell
      // even from odd uses only, and a warpgroup that stores its results while the other one goes
      // on would miss two of them and wait for ever.
      slots.WaitFull();
      slots.Release(0, kCacheTiles);
    }
    slots.NextBlock();
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    MlaAttendKernel(const __grid_constant__ MlaSplitArgs args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kSlots; ++slot) {
      BarrierInit(SharedAddress(&shared.full[slot]), 1);
      BarrierInit(SharedAddress(&shared.empty[slot]), kAttendWarps);
    }
    for (int warpgroup = 0; warpgroup < 2; ++warpgroup) {
      BarrierInit(SharedAddress(&shared.queries_full[warpgroup]), 32);
      BarrierInit(SharedAddress(&shared.queries_empty[warpgroup]), 4);
    }
    BarrierInitFence();
  }
  // Behind MlaAttendPrefixes it starts as multiprocessors fall free: nothing that kernel writes is
  // read here, and all its blocks have waited for what comes before it.
  const bool behind_prefixes = args.call.group_size > 1;
  if (!behind_prefixes && !args.call.begins_early) WaitForPriorKernels();
  AllowDependentKernels();
  CountMlaItems(args.call.sequences, kThreads, shared.first_item, [&](int sequence) {
    const MlaCuts cuts(args.call, sequence);
    return (cuts.splits - SharedSplits(args.call, cuts)) * (args.call.heads / kRows);
  });
  if (threadIdx.x < kGroupThreads) {
    DecreaseRegisters<72>();
    const int warp = threadIdx.x / 32;
    if (warp == 0) {
      RequestTiles(args.call, shared);
    } else if (warp <= 2) {
      RequestQueries(args.call, shared, warp - 1);
    }
  } else {
    IncreaseRegisters<216>();
    Attend(args, shared);
  }
  // What follows waits for this kernel alone.
  if (behind_prefixes) WaitForPriorKernels();
}

// out of a sequence with several splits, kWarpsOfRow warps a row. The splits of one long context
// are many and its rows are few: then a row gets four warps, and loads of 16 splits are under way
// at a time. With many rows a warp a row is enough. Sums follow the order of the splits in both.
template <int kWarpsOfRow>
__global__ void __launch_bounds__(kMergeThreads)
    MergeSplitsKernel(const __grid_constant__ MlaSplitArgs args) {
  constexpr int kPieces = kLatentChannels / (4 * 32 * kWarpsOfRow);  // of four channels, a lane
  constexpr int kAtOnce = kWarpsOfRow == 1 ? 2 : 16;                 // divides 32
  AllowDependentKernels();
  WaitForPriorKernels();
  const MlaDecodeBf16Args& call = args.call;
  const int warp = (static_cast<int>(blockIdx.x) * kMergeThreads + threadIdx.x) / 32;
  const int row = warp / kWarpsOfRow;
  const int sequence = row / call.heads;
  const int lane = threadIdx.x % 32;
  if (sequence >= call.sequences) return;
  const int splits = MlaCuts(call, sequence).splits;
  if (splits == 1) return;
  const int64_t first = args.Row(sequence, 0, row % call.heads);
  const int first_piece = warp % kWarpsOfRow * 32 + lane;
  float highest = kMlaLowest;
  for (int split = lane; split < splits; split += 32) {
    highest = fmaxf(highest, args.states[first + int64_t{split} * call.heads].highest);
  }
  highest = WarpMax(highest);
  float mass = 0;
  float4 sums[kPieces] = {};
  for (int base = 0; base < splits; base += 32) {
    // Lane l weighs split base + l.
    MlaRowState own = {.highest = kMlaLowest, .mass = 0};
    if (base + lane < splits) own = args.states[first + int64_t{base + lane} * call.heads];
    const float own_factor = exp2f(own.highest - highest);
    const int count = splits - base < 32 ? splits - base : 32;
    for (int begin = 0; begin < count; begin += kAtOnce) {
      float4 values[kAtOnce][kPieces];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (begin + i >= count) continue;
        const int64_t split_row = first + int64_t{base + begin + i} * call.heads;
        const auto* const pieces =
            reinterpret_cast<const float4*>(args.sums + split_row * kLatentChannels) + first_piece;
#pragma unroll
        for (int p = 0; p < kPieces; ++p) values[i][p] = __ldcs(pieces + p * 32 * kWarpsOfRow);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (begin + i >= count) continue;
        const float factor = __shfl_sync(~0u, own_factor, begin + i);
        mass = fmaf(__shfl_sync(~0u, own.mass, begin + i), factor, mass);
#pragma unroll
        for (int p = 0; p < kPieces; ++p) {
          sums[p].x = fmaf(values[i][p].x, factor, sums[p].x);
          sums[p].y = fmaf(values[i][p].y, factor, sums[p].y);
          sums[p].z = fmaf(values[i][p].z, factor, sums[p].z);
          sums[p].w = fmaf(values[i][p].w, factor, sums[p].w);
        }
      }
    }
  }
  const float scale = 1 / mass;
  auto* const out =
      reinterpret_cast<uint2*>(call.out + int64_t{row} * kLatentChannels) + first_piece;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    out[p * 32 * kWarpsOfRow] = make_uint2(PackBf16(sums[p].x * scale, sums[p].y * scale),
                                           PackBf16(sums[p].z * scale, sums[p].w * scale));
  }
}

template <int kWarpsOfRow>
cudaError_t LaunchMerge(const MlaSplitArgs& args, cudaStream_t stream) {
  const int warps = args.call.sequences * args.call.heads * kWarpsOfRow;
  return LaunchDependent(MergeSplitsKernel<kWarpsOfRow>, DivideUp(warps * 32, kMergeThreads),
                         kMergeThreads, 0, stream, args);
}

// Of a sequence: a prefix and the rest may each end in a split that is not full.
int SplitsMax(int contexts_max, int split_tokens) {
  return DivideUp(contexts_max, split_tokens) + 1;
}

cudaError_t LaunchAttend(const MlaSplitArgs& args, cudaStream_t stream) {
  return LaunchDependent(MlaAttendKernel, MultiprocessorCount(), kThreads,
                         static_cast<int>(sizeof(Shared)), stream, args);
}

}  // namespace

int MlaDecodeBf16Sm90FastSplit(int sequences, int heads, int contexts_max) {
  // In the time that a multiprocessor takes for one token: what comes with every item, and with
  // every split to merge.
  constexpr int kItemTokens = 180;
  constexpr int kMergeTokens = 3;
  int best = kMlaSplitTokensMax;
  int64_t best_cost = INT64_MAX;
  for (int split_tokens = kMlaSplitTokensMax; split_tokens >= 2 * kLatentBlockTokens;
       split_tokens /= 2) {
    const int splits = DivideUp(contexts_max, split_tokens);
    const int rounds = DivideUp(sequences * (heads / kRows) * splits, MultiprocessorCount());
    const int64_t cost = int64_t{rounds} * (split_tokens + kItemTokens) + kMergeTokens * splits;
    if (cost < best_cost) {
      best_cost = cost;
      best = split_tokens;
    }
  }
  return best;
}

int64_t MlaDecodeBf16Sm90WorkspaceBytes(int sequences, int heads, int contexts_max,
                                        int split_tokens) {
  const int64_t rows = int64_t{sequences} * SplitsMax(contexts_max, split_tokens) * heads;
  return rows * static_cast<int64_t>(kLatentChannels * sizeof(float) + sizeof(MlaRowState));
}

cudaError_t MlaDecodeBf16Sm90(const MlaDecodeBf16Args& call, cudaStream_t stream) {
  if (call.sequences < 1 || call.sequences > kMlaSequencesMax) return cudaErrorInvalidValue;
  if (call.heads < kRows || call.heads % kRows != 0) return cudaErrorInvalidValue;
  if (call.contexts_max < 1 || call.group_size < 1) return cudaErrorInvalidValue;
  if (call.split_tokens < kLatentBlockTokens || call.split_tokens > kMlaSplitTokensMax)
    return cudaErrorInvalidValue;
  if (call.split_tokens % kLatentBlockTokens != 0) return cudaErrorInvalidValue;
  if (call.group_size > 1) {
    if (call.begins_early) return cudaErrorInvalidValue;
    if (call.group_size * call.heads % kMlaPrefixRows != 0) return cudaErrorInvalidValue;
    if (call.sequences % call.group_size != 0 || call.prefix_tokens == nullptr)
      return cudaErrorInvalidValue;
  }
  const int splits_max = SplitsMax(call.contexts_max, call.split_tokens);
  auto* const sums = static_cast<float*>(call.workspace);
  const int64_t rows = int64_t{call.sequences} * splits_max * call.heads;
  const MlaSplitArgs args = {
      .call = call,
      .sums = sums,
      .states = reinterpret_cast<MlaRowState*>(sums + rows * kLatentChannels),
      .splits_max = splits_max};
  if (call.group_size > 1) {
    const cudaError_t error = MlaAttendPrefixes(args, stream);
    if (error != cudaSuccess) return error;
  }
  const cudaError_t error = LaunchAttend(args, stream);
  if (error != cudaSuccess) return error;
  // Nothing to merge: no sequence can have a second split.
  if (call.prefix_tokens == nullptr && call.contexts_max <= call.split_tokens) return cudaSuccess;
  return call.sequences * call.heads <= kMergeFewRows ? LaunchMerge<4>(args, stream)
                                                      : LaunchMerge<1>(args, stream);
}

}  // namespace r1::kernels
