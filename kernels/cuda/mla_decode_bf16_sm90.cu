// MlaAttend: cached latents are on the 64-wide side of wgmma, as keys and, transposed, as values,
// so that 16 query rows waste no work. A warpgroup takes one item after the other: a split of the
// cache for 16 rows, the heads of one sequence. The two warpgroups of a block work on different
// items whose cache blocks stream through shared memory in turn, so that one's softmax hides behind
// the other's products; blocks with which both items begin, those of a common prompt, stream once
// for both. Over a shared prefix they work on the same split, each for 32 rows, of two sequences.
// MergeSplits puts the splits of a sequence together.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kGroupThreads = 128;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kAttendWarps = 2 * kGroupThreads / 32;  // each has done with a slot, or passed it by
constexpr int kRowsOfBlock = 16;  // query rows that belong together: heads of one sequence
constexpr int kLatentTiles = kLatentChannels / 64;
constexpr int kMergeThreads = 128;
// Up to here a row gets several warps when splits are merged: all rows' blocks then run at once.
constexpr int kMergeFewRows = 512;
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
  float* sums;  // [B][splits_max][H, L], relative to each row's highest score and not yet divided
                // by its mass
  RowState* states;  // [B][splits_max][H]
  int splits_max;    // of a sequence, its prefix's included
};

// How a sequence is cut: its prefix into splits, then the rest. The same whether the prefix is
// shared or not.
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

// --- work
// -------------------------------------------------------------------------------------------------

// Rows of a warpgroup: 16, each warpgroup with its own splits; or 32, both with the same splits of
// a shared prefix.
template <int kRows>
struct Shared {
  static constexpr bool kSameSplits = kRows == 32;
  // Tiles of the cache in flight: as many as fit.
  static constexpr int kSlots = kSameSplits ? 17 : 22;

  uint8_t slots[kSlots][kCacheTileBytes];
  uint8_t queries[2][kCacheTiles][kRows * kPackedRowBytes];
  uint8_t probabilities[2][kRows * kPackedRowBytes];
  float warp_values[2][4][kRows];
  uint64_t full[kSlots];
  uint64_t empty[kSlots];
  uint64_t queries_full[2];
  uint64_t queries_empty[2];
  int first_item[kMlaSequencesMax +
                 1];  // of each unit: a sequence, or a group with a shared prefix
};
static_assert(sizeof(Shared<16>) <= kSharedBytesMax);
static_assert(sizeof(Shared<32>) <= kSharedBytesMax);

// One split of the cache for a warpgroup's rows.
struct Item {
  const int32_t* blocks;  // of the split
  int tokens;             // of the split, at least 1
  int row_block;  // first of kRows / 16 blocks of 16 rows; block r is of sequence r / (H / 16)
  int split;      // its number among the splits of each of its sequences
};

// A warpgroup's items. A unit has its splits times its groups of rows, the rows fastest, so that
// what runs at the same time shares the cache's bytes in L2.
template <int kRows>
class ItemCursor {
 public:
  static constexpr bool kSameSplits = Shared<kRows>::kSameSplits;
  static constexpr int kRowsOfItem = kRows * (kSameSplits ? 2 : 1);

  __device__ ItemCursor(const MlaDecodeBf16Args& call, const int* first_item, int warpgroup)
      : call_(call),
        first_item_(first_item),
        warpgroup_(warpgroup),
        next_(First(first_item[Units(call)], warpgroup)) {}

  // Neighbours go to one block, where there is more than an item for each.
  static __device__ int First(int items, int warpgroup) {
    const int block = static_cast<int>(blockIdx.x);
    const int blocks = static_cast<int>(gridDim.x);
    if (kSameSplits) return block;
    return items > blocks ? 2 * block + warpgroup : block + warpgroup * blocks;
  }

  static __device__ int Units(const MlaDecodeBf16Args& call) {
    return kSameSplits ? call.sequences / call.group_size : call.sequences;
  }
  static __device__ int RowGroups(const MlaDecodeBf16Args& call) {
    return (kSameSplits ? call.group_size : 1) * call.heads / kRowsOfItem;
  }
  static __device__ int FirstSequence(const MlaDecodeBf16Args& call, int unit) {
    return kSameSplits ? unit * call.group_size : unit;
  }
  // Splits of the unit that this kernel attends: those of a shared prefix, or all others.
  static __device__ int FirstSplit(const MlaDecodeBf16Args& call, const Cuts& cuts) {
    return !kSameSplits && call.group_size > 1 ? cuts.prefix_splits : 0;
  }
  static __device__ int EndSplit(const Cuts& cuts) {
    return kSameSplits ? cuts.prefix_splits : cuts.splits;
  }

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
    const int first_token =
        of_prefix ? item->split * call_.split_tokens
                  : cuts.prefix + (item->split - cuts.prefix_splits) * call_.split_tokens;
    const int left = (of_prefix ? cuts.prefix : cuts.context) - first_token;
    item->blocks = call_.block_tables + int64_t{sequence} * call_.table_stride +
                   first_token / kLatentBlockTokens;
    item->tokens = left < call_.split_tokens ? left : call_.split_tokens;
    const int row =
        in_unit % RowGroups(call_) * kRowsOfItem + (kSameSplits ? warpgroup_ * kRows : 0);
    item->row_block = (sequence * call_.heads + row) / kRowsOfBlock;
    next_ += gridDim.x * (kSameSplits ? 1 : 2);
    return true;
  }

 private:
  const MlaDecodeBf16Args& call_;
  const int* const first_item_;
  const int warpgroup_;
  int next_;
};

// Fills shared.first_item. By the whole block.
template <int kRows>
__device__ void CountItems(const MlaDecodeBf16Args& call, Shared<kRows>& shared) {
  using Cursor = ItemCursor<kRows>;
  const int units = Cursor::Units(call);
  for (int unit = threadIdx.x; unit < units; unit += kThreads) {
    const Cuts cuts(call, Cursor::FirstSequence(call, unit));
    shared.first_item[unit] =
        (Cursor::EndSplit(cuts) - Cursor::FirstSplit(call, cuts)) * Cursor::RowGroups(call);
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    const int share = DivideUp(units, 32);
    const int begin = static_cast<int>(threadIdx.x) * share < units
                          ? static_cast<int>(threadIdx.x) * share
                          : units;
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

constexpr int kBothWarpgroups = 2;

// The order in which cache blocks stream through the slots, walked by every role, each with whole
// warps: the warpgroups' items by pairs, first the blocks that both have, then those of each in
// turn, then what one has left.
template <int kRows>
class BlockOrder {
 public:
  static constexpr bool kSameSplits = Shared<kRows>::kSameSplits;

  // `own`: whose item Next gives where a block is for both.
  __device__ BlockOrder(const MlaDecodeBf16Args& call, const int* first_item, int own)
      : cursors_{{call, first_item, 0}, {call, first_item, 1}}, own_(own) {}

  // Moves to the next block: it is number `block` of `item`, for `warpgroup` or kBothWarpgroups.
  // False at the end.
  __device__ bool Next(Item* item, int* block, int* warpgroup) {
    if (left_[0] == 0 && left_[1] == 0 && !TakePair()) return false;
    if (common_ > 0) {
      *item = kSameSplits || own_ == 0 ? items_[0] : items_[1];
      *block = block_[0];
      *warpgroup = kBothWarpgroups;
      --common_;
      Pass<0>();
      if (!kSameSplits) Pass<1>();
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
    if (kSameSplits) {
      common_ = left_[0];
    } else if (Take<1>()) {
      const int whole = min(items_[0].tokens, items_[1].tokens) / kLatentBlockTokens;
      const bool same = static_cast<int>(threadIdx.x % 32) < whole && indexes_[0] == indexes_[1];
      common_ = __ffs(~__ballot_sync(~0u, same)) - 1;
      if (common_ < 0) common_ = 32;
    }
    return true;
  }

  ItemCursor<kRows> cursors_[2];
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
template <int kRows>
class SlotCursor {
 public:
  explicit __device__ SlotCursor(Shared<kRows>& shared) : shared_(&shared) {}

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
  static constexpr int kSlots = Shared<kRows>::kSlots;
  static_assert(kSlots >= kCacheTiles);
  __device__ int Slot(int i) const {
    return first_ + i < kSlots ? first_ + i : first_ + i - kSlots;
  }
  __device__ uint32_t Phase(int i) const { return first_ + i < kSlots ? phase_ : phase_ ^ 1; }

  Shared<kRows>* shared_;
  int first_ = 0;
  uint32_t phase_ = 0;
};

// --- producers
// -------------------------------------------------------------------------------------------------

// A launch for a shared prefix comes before the rest's, and waits.
__device__ __forceinline__ bool BeginsEarly(const MlaDecodeBf16Args& call) {
  return call.begins_early && call.group_size == 1;
}

// Requests the tiles of all blocks. By the first warp.
template <int kRows>
__device__ __forceinline__ void RequestTiles(const MlaDecodeBf16Args& call, Shared<kRows>& shared) {
  const int lane = threadIdx.x;
  BlockOrder<kRows> order(call, shared.first_item, 0);
  SlotCursor<kRows> slots(shared);
  bool waits = BeginsEarly(call);
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
        const int tile = i == 0 ? kLatentTiles : i - 1;
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
template <int kRows>
__device__ __forceinline__ void RequestQueries(const MlaDecodeBf16Args& call, Shared<kRows>& shared,
                                               int warpgroup) {
  constexpr int kPieces = kCacheChannels / 8;
  if (BeginsEarly(call)) WaitForPriorKernels();
  ItemCursor<kRows> cursor(call, shared.first_item, warpgroup);
  Item item;
  for (uint32_t phase = 1; cursor.Next(&item); phase ^= 1) {
    BarrierWait(SharedAddress(&shared.queries_empty[warpgroup]), phase);
    const __nv_bfloat16* const rows =
        call.q + int64_t{item.row_block} * kRowsOfBlock * kCacheChannels;
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
template <int kRows>
struct Run {
  float highest[kRows / 4];  // column i: 8 * (i / 2) + 2 * (lane % 4) + i % 2
  float mass[kRows / 4];
  float sums[kLatentTiles][kRows / 2];

  __device__ void Clear() {
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      highest[i] = kLowest;
      mass[i] = 0;
    }
#pragma unroll
    for (int d = 0; d < kLatentTiles; ++d) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) sums[d][i] = 0;
    }
  }
};

// The value of each of the thread's columns, combined over the rows of the warpgroup by `combine`.
template <int kRows, typename Combine>
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
template <int kRows>
__device__ __forceinline__ void ClearMissingTokens(const SlotCursor<kRows>& slots, int tokens) {
  for (int tile = 0; tile < kLatentTiles; ++tile) {
    auto* const pieces = reinterpret_cast<uint4*>(slots.data(1 + tile));
    for (int i = tokens * 8 + threadIdx.x % kGroupThreads; i < kLatentBlockTokens * 8;
         i += kGroupThreads) {
      pieces[i] = make_uint4(0, 0, 0, 0);
    }
  }
}

// Adds a block of `tokens` tokens to the run. `slots` stands at the block's first slot.
template <int kRows>
__device__ __forceinline__ void AddBlock(Shared<kRows>& shared, const SlotCursor<kRows>& slots,
                                         int tokens, int warpgroup, float scale, Run<kRows>& run) {
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
    const int tile = i == 0 ? kLatentTiles : i - 1;
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
    first = token < tokens ? first * scale : kLowest;
    second = token + 8 < tokens ? second * scale : kLowest;
    highest[i] = fmaxf(first, second);
  }
  CombineRows<kRows>(highest, shared.warp_values[warpgroup], barrier,
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
  for (int half = 0; half < kLatentTiles; half += kLatentTiles / 2) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int d = half; d < half + kLatentTiles / 2; ++d) {
        WgmmaTransposedA<kRows>(run.sums[d], TileDescriptor(slots.tile(1 + d)) + k * 128,
                                weights + k * 2);
      }
    }
    WgmmaCommit();
  }
  WgmmaWait<1>();
  slots.Release(1, 1 + kLatentTiles / 2);
  WgmmaWait<0>();
  slots.Release(1 + kLatentTiles / 2, kCacheTiles);
#pragma unroll
  for (int d = 0; d < kLatentTiles; ++d) {
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) UseAfterWait(run.sums[d][i]);
  }
}

// --- results
// -------------------------------------------------------------------------------------------------

// Writes an item's sums: the result itself when the sequence has no other split, otherwise for
// MergeSplits. run.mass is the whole mass of each column.
template <int kRows>
__device__ __forceinline__ void StoreItem(const KernelArgs& args, const Item& item,
                                          const Run<kRows>& run) {
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
      __nv_bfloat16* const out =
          call.out + (int64_t{sequence} * call.heads + head) * kLatentChannels;
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
          auto* const target = reinterpret_cast<uint32_t*>(
              out + (8 * j + lane / 4) * kLatentChannels + d * 64 + warp * 16 + lane % 4 * 2);
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
  const int own_warpgroup = threadIdx.x / kGroupThreads - 1;
  const float scale = args.call.scale * kLog2E;
  BlockOrder<kRows> order(args.call, shared.first_item, own_warpgroup);
  SlotCursor<kRows> slots(shared);
  Run<kRows> run;
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
        CombineRows<kRows>(run.mass, shared.warp_values[own_warpgroup], 1 + own_warpgroup,
                           [](float a, float b) { return a + b; });
        if (Shared<kRows>::kSameSplits) item.row_block += own_warpgroup * (kRows / kRowsOfBlock);
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

template <int kRows>
__global__ void __launch_bounds__(kThreads, 1)
    MlaAttendKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared<kRows>*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < Shared<kRows>::kSlots; ++slot) {
      BarrierInit(SharedAddress(&shared.full[slot]), 1);
      BarrierInit(SharedAddress(&shared.empty[slot]), kAttendWarps);
    }
    for (int warpgroup = 0; warpgroup < 2; ++warpgroup) {
      BarrierInit(SharedAddress(&shared.queries_full[warpgroup]), 32);
      BarrierInit(SharedAddress(&shared.queries_empty[warpgroup]), 4);
    }
    BarrierInitFence();
  }
  if (!BeginsEarly(args.call)) WaitForPriorKernels();
  AllowDependentKernels();
  CountItems(args.call, shared);
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
}

// out of a sequence with several splits, kWarpsOfRow warps a row. The splits of one long context
// are many and its rows are few: then a row gets four warps, and loads of 16 splits are under way
// at a time. With many rows a warp a row is enough. Sums follow the order of the splits in both.
template <int kWarpsOfRow>
__global__ void __launch_bounds__(kMergeThreads)
    MergeSplitsKernel(const __grid_constant__ KernelArgs args) {
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
  const int splits = Cuts(call, sequence).splits;
  if (splits == 1) return;
  const int64_t first = int64_t{sequence} * args.splits_max * call.heads + row % call.heads;
  const int first_piece = warp % kWarpsOfRow * 32 + lane;
  float highest = kLowest;
  for (int split = lane; split < splits; split += 32) {
    highest = fmaxf(highest, args.states[first + int64_t{split} * call.heads].highest);
  }
  highest = WarpMax(highest);
  float mass = 0;
  float4 sums[kPieces] = {};
  for (int base = 0; base < splits; base += 32) {
    // Lane l weighs split base + l.
    RowState own = {.highest = kLowest, .mass = 0};
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
cudaError_t LaunchMerge(const KernelArgs& args, cudaStream_t stream) {
  const int warps = args.call.sequences * args.call.heads * kWarpsOfRow;
  return LaunchDependent(MergeSplitsKernel<kWarpsOfRow>, DivideUp(warps * 32, kMergeThreads),
                         kMergeThreads, 0, stream, args);
}

// Of a sequence: a prefix and the rest may each end in a split that is not full.
int SplitsMax(int contexts_max, int split_tokens) {
  return DivideUp(contexts_max, split_tokens) + 1;
}

template <int kRows>
cudaError_t LaunchAttend(const KernelArgs& args, cudaStream_t stream) {
  return LaunchDependent(MlaAttendKernel<kRows>, MultiprocessorCount(), kThreads,
                         static_cast<int>(sizeof(Shared<kRows>)), stream, args);
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
    const int rounds = DivideUp(sequences * (heads / kRowsOfBlock) * splits, MultiprocessorCount());
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
  return rows * static_cast<int64_t>(kLatentChannels * sizeof(float) + sizeof(RowState));
}

cudaError_t MlaDecodeBf16Sm90(const MlaDecodeBf16Args& call, cudaStream_t stream) {
  if (call.sequences < 1 || call.sequences > kMlaSequencesMax) return cudaErrorInvalidValue;
  if (call.heads < kRowsOfBlock || call.heads % kRowsOfBlock != 0) return cudaErrorInvalidValue;
  if (call.contexts_max < 1 || call.group_size < 1) return cudaErrorInvalidValue;
  if (call.split_tokens < kLatentBlockTokens || call.split_tokens > kMlaSplitTokensMax)
    return cudaErrorInvalidValue;
  if (call.split_tokens % kLatentBlockTokens != 0) return cudaErrorInvalidValue;
  if (call.group_size > 1) {
    if (call.group_size * call.heads % ItemCursor<2 * kRowsOfBlock>::kRowsOfItem != 0)
      return cudaErrorInvalidValue;
    if (call.sequences % call.group_size != 0 || call.prefix_tokens == nullptr)
      return cudaErrorInvalidValue;
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
  return call.sequences * call.heads <= kMergeFewRows ? LaunchMerge<4>(args, stream)
                                                      : LaunchMerge<1>(args, stream);
}

}  // namespace r1::kernels
