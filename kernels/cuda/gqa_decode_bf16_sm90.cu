// A block attends one split of the cache for one key head and one tile of rows: the query heads of
// the tile's rows that share the key head are the rows of the tensor cores' products. One warp
// requests blocks of the cache; the others work in sets of four, each set for 16 or 32 of the rows,
// and a warp of a set takes a quarter of every block's tokens: 16 of 64, with a running maximum of
// its own. So the warps never wait for each other before the split ends, and what is loaded from
// shared memory as keys and values serves all rows of a set's warp. Then the quarters are merged,
// and whichever block of a tile finishes last merges its splits. Of many rows two make a tile, the
// blocks with which both sequences begin, those of a common prompt, are read once for both, and
// rows are masked where the other one goes on alone: half of a product's rows would be empty
// anyway. Long shared prefixes are attended by a launch before, next to which the rest begins: only
// the merge waits for it.
//
// Of a row that begins with what was projected, every block makes the queries for itself. The one
// with the row's last token also makes its key and value, writes them to the cache and puts them in
// their place in shared memory, where they were missing.
#include "kernels/cuda/gqa_decode_bf16_sm90.h"
#include "kernels/cuda/gqa_input.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kQuarters = 4;
constexpr int kQuarterTokens = kGroupedBlockTokens / kQuarters;
constexpr int kRowsOfProduct = 16;
constexpr float kLog2E = 1.4426950408889634f;
// Stands for minus infinity, so that differences of two of them are numbers; and the score of a
// token that a row does not attend, still lower, so that its probability is zero in any case.
constexpr float kLowest = -1e30f;
constexpr float kMasked = -2e30f;

// Pairs of floats that a row's head takes in the workspace where prefixes are shared.
constexpr int64_t ChainPairs(int head_dim) { return kQuarters * (head_dim / 2 + 4); }

struct KernelArgs {
  GqaDecodeBf16Args call;
  // [tile_count, tile_rows_max, H][splits_max][K / 2] pairs of channels, relative to 2^highest and
  // not yet divided by the mass.
  float2* sums;
  float2* states;  // likewise without channels: highest score, mass
  // What a warp knows of a row where its prefix ends within a split: [workspace_rows, H][quarter]
  // [K / 2] pairs of channels, and [4 lanes] highest score and mass.
  float2* chain_sums;
  float2* chain_states;
  int splits_max;
};

// A kind of block: kSets sets of warps, each for kProducts times 16 rows. kPairs: its tile are two
// rows of any two sequences.
template <int kHeadDim_, int kSets_, int kProducts_, bool kPairs_ = false>
struct BlockKind {
  static constexpr bool kPairs = kPairs_;
  static constexpr int kTileRows = kPairs ? 2 : 1;  // of tiles without a list
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kSets = kSets_;
  static constexpr int kProducts = kProducts_;
  static constexpr int kRowsOfSet = kProducts * kRowsOfProduct;
  static constexpr int kRows = kSets * kRowsOfSet;
  static constexpr int kWarps = kSets * kQuarters;  // without the one that requests
  static constexpr int kAttendThreads = 32 * kWarps;
  static constexpr int kThreads = kAttendThreads + 32;
  static constexpr int kTiles = kHeadDim / 64;
  static constexpr int kStageBytes = GroupedHeadBytes(kHeadDim);
  // Two blocks for a few rows fit on a multiprocessor, or one for many.
  static constexpr int kBlocks = kRows <= kRowsOfProduct ? 2 : 1;
  static constexpr int kStages = (kBlocks == 2 ? 96 << 10 : 160 << 10) / kStageBytes;
  // Pairs from a row of sums in shared memory to the next, so that rows are in different banks.
  static constexpr int kSumsStride = kHeadDim / 2 + 4;
};

template <typename Kind>
struct Shared {
  union {
    uint8_t stages[Kind::kStages][Kind::kStageBytes];
    float2 sums[Kind::kWarps][Kind::kRowsOfSet][Kind::kSumsStride];  // at the end
  };
  uint8_t queries[Kind::kTiles][Kind::kRows * kPackedRowBytes];
  // Of each row's last token: key, value.
  __nv_bfloat16 last_token[Kind::kTileRows][2][Kind::kHeadDim];
  float2 states[Kind::kWarps][Kind::kRowsOfSet];  // as in KernelArgs
  uint64_t full[Kind::kStages];
  uint64_t empty[Kind::kStages];
  bool is_last;
};

// --- work
// -------------------------------------------------------------------------------------------------

// What a block attends.
template <GqaPart kPart, bool kPairs>
struct Item {
  RowTile tile;
  int kv_head;
  int heads;  // query heads of a key head
  int split;
  int first_split;  // of those that this call attends
  int first_token;  // of the split, or of what is left of it
  int tokens = 0;   // from there, of the tile's longest context; none or fewer: nothing to do
  bool continues;   // a split that a prefix has begun
  bool breaks_off;  // within a split, where the prefix ends

  __device__ explicit Item(const GqaDecodeBf16Args& call)
      : tile(Tile(call)), kv_head(blockIdx.y), heads(call.heads / call.kv_heads) {
    if (tile.count == 0) return;
    const int prefix = kPart == GqaPart::kAll ? 0 : call.prefixes[last_row()];
    first_split = kPart == GqaPart::kRest ? prefix / call.split_tokens : 0;
    split = first_split + static_cast<int>(blockIdx.z);
    const int begin = split * call.split_tokens;
    continues = kPart == GqaPart::kRest && prefix > begin;
    first_token = continues ? prefix : begin;
    const int all = kPart == GqaPart::kPrefixes ? prefix : LongestContext(call);
    const int end = begin + call.split_tokens < all ? begin + call.split_tokens : all;
    breaks_off = kPart == GqaPart::kPrefixes && end < begin + call.split_tokens;
    tokens = end - first_token;
  }

  static __device__ RowTile Tile(const GqaDecodeBf16Args& call) {
    const int block = static_cast<int>(blockIdx.x);
    if (kPairs) return {2 * block, 2 * block + 1 < call.tile_count ? 2 : 1};
    return call.tiles == nullptr ? RowTile{block, 1} : call.tiles[block];
  }

  __device__ int last_row() const { return tile.first + tile.count - 1; }
  __device__ int LongestContext(const GqaDecodeBf16Args& call) const {
    const int last = call.contexts[last_row()];
    return kPairs ? max(last, call.contexts[tile.first]) : last;
  }
  __device__ int rows() const { return tile.count * heads; }
  // Of one of them: the query head among all rows' heads.
  __device__ int64_t Head(const GqaDecodeBf16Args& call, int row) const {
    return int64_t{tile.first + row / heads} * call.heads + kv_head * heads + row % heads;
  }
  __device__ int Context(const GqaDecodeBf16Args& call, int row) const {
    return call.contexts[tile.first + row / heads];
  }
  __device__ int Splits(const GqaDecodeBf16Args& call, int row) const {
    return DivideUp(Context(call, row), call.split_tokens);
  }
  // Its place in the workspace, where parts that are attended apart must find each other.
  __device__ int64_t FirstSplit(const KernelArgs& args, int row) const {
    if (kPairs || kPart != GqaPart::kAll) return Head(args.call, row) * args.splits_max;
    const int64_t tile_row = int64_t{blockIdx.x} * args.call.tile_rows_max + row / heads;
    return (tile_row * args.call.heads + kv_head * heads + row % heads) * args.splits_max;
  }
};

// The blocks of a split, in the order in which they are attended: of a pair those that both
// sequences have, then those of each. Made by whole warps.
template <bool kPairs>
struct BlockOrder {
  struct Block {
    int number;  // of the sequence's in the split
    int tokens;  // in it and behind it
    int row;     // of the pair whose block it is; kBothRows
  };
  static constexpr int kBothRows = -1;

  int blocks;

  template <GqaPart kPart>
  __device__ BlockOrder(const GqaDecodeBf16Args& call, const Item<kPart, kPairs>& item) {
    static_assert(kGqaSplitTokensMax / kGroupedBlockTokens <= 32);
    if constexpr (!kPairs) {
      tokens_[0] = item.tokens;
      blocks = first_blocks_ = Load(call, item, item.last_row(), 0);
    } else {
      for (int row = 0; row < 2; ++row) {
        const int left =
            row < item.tile.count ? call.contexts[item.tile.first + row] - item.first_token : 0;
        tokens_[row] = max(0, min(left, call.split_tokens));
      }
      first_blocks_ = Load(call, item, item.tile.first, 0);
      const int second_blocks = Load(call, item, item.last_row(), 1);
      const int whole = min(tokens_[0], tokens_[1]) / kGroupedBlockTokens;
      const bool same = static_cast<int>(threadIdx.x % 32) < whole && indexes_[0] == indexes_[1];
      const uint32_t differ = ~__ballot_sync(~0u, same);
      common_ = differ == 0 ? 32 : __ffs(differ) - 1;
      blocks = first_blocks_ + second_blocks - common_;
    }
  }

  __device__ Block operator[](int i) const {
    const int row = i >= first_blocks_ ? 1 : i >= common_ ? 0 : kBothRows;
    const int number = i < first_blocks_ ? i : common_ + i - first_blocks_;
    return {number, (row == 1 ? tokens_[1] : tokens_[0]) - number * kGroupedBlockTokens, row};
  }
  // In the cache.
  __device__ int32_t Index(const Block& block) const {
    return __shfl_sync(~0u, block.row == 1 ? indexes_[1] : indexes_[0], block.number);
  }

 private:
  template <GqaPart kPart>
  __device__ int Load(const GqaDecodeBf16Args& call, const Item<kPart, kPairs>& item, int row,
                      int place) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int count = DivideUp(tokens_[place], kGroupedBlockTokens);
    const int32_t* const table = call.block_tables + int64_t{row} * call.table_stride +
                                 item.first_token / kGroupedBlockTokens;
    indexes_[place] = lane < count ? table[lane] : 0;
    return count;
  }

  int tokens_[2] = {0, 0};
  int32_t indexes_[2] = {0, 0};  // of each row's blocks, one a lane
  int common_ = 0;
  int first_blocks_;  // of the first row, or the only one
};

// Requests the split's blocks. By one warp.
template <typename Kind, GqaPart kPart>
__device__ __forceinline__ void RequestBlocks(const GqaDecodeBf16Args& call,
                                              const Item<kPart, Kind::kPairs>& item,
                                              Shared<Kind>& shared) {
  using Order = BlockOrder<Kind::kPairs>;
  const Order order(call, item);
  for (int i = 0; i < order.blocks; ++i) {
    const typename Order::Block block = order[i];
    const int32_t index = order.Index(block);
    if (threadIdx.x % 32 != 0) continue;
    // Tiles of a prompt come back for the same blocks, and other pairs for common ones.
    const bool once = Kind::kBlocks == 2 && !(Kind::kPairs && block.row == Order::kBothRows);
    const int stage = i % Kind::kStages;
    const uint32_t full = SharedAddress(&shared.full[stage]);
    BarrierWait(SharedAddress(&shared.empty[stage]), i / Kind::kStages % 2 ^ 1);
    BarrierArriveExpectBytes(full, Kind::kStageBytes);
    BulkCopy(SharedAddress(shared.stages[stage]),
             call.cache + (int64_t{index} * call.kv_heads + item.kv_head) * Kind::kStageBytes,
             Kind::kStageBytes, full, once ? PolicyEvictFirst() : PolicyEvictNormal());
  }
}

// Where the last token of a row of the tile is, counted from the split's first one; negative if in
// another split.
template <GqaPart kPart, bool kPairs>
__device__ __forceinline__ int LastToken(const GqaDecodeBf16Args& call,
                                         const Item<kPart, kPairs>& item, int row) {
  const int token = call.contexts[item.tile.first + row] - 1 - item.first_token;
  return token < call.split_tokens ? token : -1;
}

// Makes the query rows of what was projected, and the last tokens' keys and values. By the
// attending threads, whole warps.
template <typename Kind, GqaPart kPart>
__device__ __forceinline__ void MakeInputs(const GqaDecodeBf16Args& call,
                                           const Item<kPart, Kind::kPairs>& item,
                                           Shared<Kind>& shared) {
  constexpr int kLanes = kGqaHeadLanes<Kind::kHeadDim>;
  constexpr int kHeadsOfWarp = 32 / kLanes;
  const GqaInputBf16Args& input = call.input;
  const int of_warp = static_cast<int>(threadIdx.x % 32) / kLanes;
  const int piece = static_cast<int>(threadIdx.x) % kLanes;
  const int heads_of_row = item.heads + 2;  // its queries, its key, its value
  const int heads = item.tile.count * heads_of_row;
  bool waits = true;
  for (int first = static_cast<int>(threadIdx.x / 32) * kHeadsOfWarp; first < heads;
       first += Kind::kWarps * kHeadsOfWarp) {
    // Lanes without a head do as the last one's: everybody takes part in the shuffles.
    const int own = min(first + of_warp, heads - 1);
    const int of_tile = own / heads_of_row;
    const int of_row = own % heads_of_row;
    const int row = item.tile.first + of_tile;
    const int kind = max(0, of_row - item.heads + 1);  // 0: query, 1: key, 2: value
    const int head = kind == 0   ? item.kv_head * item.heads + of_row
                     : kind == 1 ? call.heads + item.kv_head
                                 : call.heads + call.kv_heads + item.kv_head;
    const float* const table_row =
        input.rope_table + int64_t{input.positions[row]} * 2 * Kind::kHeadDim;
    const int last_token = LastToken(call, item, of_tile);
    const int slot = input.slots[row];
    if (waits) WaitForPriorKernels();
    waits = false;
    const uint4 bits = MakeGqaInput<Kind::kHeadDim>(input, row, head, table_row);
    if (first + of_warp >= heads) continue;
    if (kind == 0) {
      const int target = of_tile * item.heads + of_row;
      *reinterpret_cast<uint4*>(shared.queries[piece / 8] + target * kPackedRowBytes +
                                SwizzledPiece(target, piece % 8) * 16) = bits;
    } else if (last_token >= 0) {
      const int channel = piece * kGqaPiece;
      *reinterpret_cast<uint4*>(&shared.last_token[of_tile][kind - 1][channel]) = bits;
      if (slot >= 0) {
        *reinterpret_cast<uint4*>(
            GqaCachePiece<Kind::kHeadDim>(input, slot, item.kv_head, kind == 2, channel)) = bits;
      }
    }
  }
  if (waits) WaitForPriorKernels();
  const int rows = item.rows();
  for (int i = threadIdx.x; i < (Kind::kRows - rows) * kLanes; i += Kind::kAttendThreads) {
    const int row = rows + i / kLanes;
    *reinterpret_cast<uint4*>(shared.queries[i % kLanes / 8] + row * kPackedRowBytes +
                              SwizzledPiece(row, i % 8) * 16) = make_uint4(0, 0, 0, 0);
  }
}

// Puts the last token of a row of the tile in its place, `token` of the stage. By the warp that
// attends it.
template <typename Kind>
__device__ __forceinline__ void PlaceLastToken(const Shared<Kind>& shared, int row, int token,
                                               uint8_t* stage) {
  constexpr int kPieces = Kind::kHeadDim / kGqaPiece;
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (lane < 2 * kPieces) {
    const bool is_value = lane >= kPieces;
    const int channel = lane % kPieces * kGqaPiece;
    *reinterpret_cast<uint4*>(stage + (is_value ? GroupedKeyBytes(Kind::kHeadDim) : 0) +
                              GroupedOffset(token, channel)) =
        *reinterpret_cast<const uint4*>(&shared.last_token[row][is_value][channel]);
  }
  FenceAsyncProxy();  // the stage may be filled anew
  __syncwarp();
}

// Query rows to shared memory, zeros behind the last one. By the attending threads.
template <typename Kind, GqaPart kPart>
__device__ __forceinline__ void LoadQueries(const GqaDecodeBf16Args& call,
                                            const Item<kPart, Kind::kPairs>& item,
                                            Shared<Kind>& shared) {
  constexpr int kPieces = Kind::kHeadDim / 8;
  for (int i = threadIdx.x; i < Kind::kRows * kPieces; i += Kind::kAttendThreads) {
    const int row = i / kPieces;
    const int piece = i % kPieces;
    uint4 bits = make_uint4(0, 0, 0, 0);
    if (row < item.rows()) {
      bits = *reinterpret_cast<const uint4*>(call.q + item.Head(call, row) * Kind::kHeadDim +
                                             piece * 8);
    }
    *reinterpret_cast<uint4*>(shared.queries[piece / 8] + row * kPackedRowBytes +
                              SwizzledPiece(row, piece % 8) * 16) = bits;
  }
}

// --- a warp's run over its quarters
// -------------------------------------------------------------------------------------------------

// Of a warp's rows: a thread has the rows 8 * half + lane / 4 of each product; of their sums, the
// channels that MultiplyFragments says.
template <typename Kind>
struct Run {
  int limits[Kind::kProducts][2];  // tokens of the split that the row attends
  int rows[Kind::kProducts][2];    // whose head it is, of a pair
  float highest[Kind::kProducts][2];
  float mass[Kind::kProducts][2];  // this thread's part
  float sums[Kind::kProducts][Kind::kHeadDim / 8][4] = {};

  template <GqaPart kPart>
  __device__ Run(const GqaDecodeBf16Args& call, const Item<kPart, Kind::kPairs>& item,
                 int first_row) {
#pragma unroll
    for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row =
            first_row + p * kRowsOfProduct + half * 8 + static_cast<int>(threadIdx.x % 32) / 4;
        limits[p][half] =
            item.Context(call, row < item.rows() ? row : item.rows() - 1) - item.first_token;
        rows[p][half] = min(row / item.heads, item.tile.count - 1);
        highest[p][half] = kLowest;
        mass[p][half] = 0;
      }
    }
  }

  // The limits in a block of sequence `row` of a pair, or of both.
  __device__ __forceinline__ void LimitsIn(int row, int (&own)[Kind::kProducts][2]) const {
#pragma unroll
    for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        own[p][half] = row < 0 || row == rows[p][half] ? limits[p][half] : 0;
    }
  }

  // To where another block continues, and from there.
  template <GqaPart kPart>
  __device__ __forceinline__ void StoreChain(const KernelArgs& args,
                                             const Item<kPart, Kind::kPairs>& item, int first_row,
                                             int quarter) const {
    ForEachRow(item, first_row, [&](int p, int half, int row) {
      const int64_t place = item.Head(args.call, row) * kQuarters + quarter;
      const int lane = static_cast<int>(threadIdx.x % 4);
      args.chain_states[place * 4 + lane] = make_float2(highest[p][half], mass[p][half]);
      float2* const target = args.chain_sums + place * (Kind::kHeadDim / 2) + lane;
#pragma unroll
      for (int c = 0; c < Kind::kHeadDim / 8; ++c)
        target[c * 4] = make_float2(sums[p][c][2 * half], sums[p][c][2 * half + 1]);
    });
  }
  template <GqaPart kPart>
  __device__ __forceinline__ void LoadChain(const KernelArgs& args,
                                            const Item<kPart, Kind::kPairs>& item, int first_row,
                                            int quarter) {
    ForEachRow(item, first_row, [&](int p, int half, int row) {
      const int64_t place = item.Head(args.call, row) * kQuarters + quarter;
      const int lane = static_cast<int>(threadIdx.x % 4);
      const float2 state = __ldcg(args.chain_states + place * 4 + lane);
      highest[p][half] = state.x;
      mass[p][half] = state.y;
      const float2* const source = args.chain_sums + place * (Kind::kHeadDim / 2) + lane;
#pragma unroll
      for (int c = 0; c < Kind::kHeadDim / 8; ++c) {
        const float2 pair = __ldcg(source + c * 4);
        sums[p][c][2 * half] = pair.x;
        sums[p][c][2 * half + 1] = pair.y;
      }
    });
  }

 private:
  // visit(product, half, row) for the rows that there are.
  template <GqaPart kPart, typename Visit>
  static __device__ __forceinline__ void ForEachRow(const Item<kPart, Kind::kPairs>& item,
                                                    int first_row, Visit visit) {
#pragma unroll
    for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row =
            first_row + p * kRowsOfProduct + half * 8 + static_cast<int>(threadIdx.x % 32) / 4;
        if (row < item.rows()) visit(p, half, row);
      }
    }
  }
};

// Where a lane finds the rows that LoadMatrices takes from it, without the 32 bytes times step that
// are to be added without carry.
struct FragmentOffsets {
  uint32_t key;    // matrices: 8 tokens by 8 channels, channels fastest
  uint32_t value;  // tokens fastest
  uint32_t query;  // rows fastest

  __device__ FragmentOffsets(int lane, int quarter, int first_row) {
    const int key_token = quarter * kQuarterTokens + lane / 16 * 8 + lane % 8;
    const int value_token = quarter * kQuarterTokens + lane % 16;
    const int row = first_row + lane % 16;
    key = key_token * kPackedRowBytes + SwizzledPiece(key_token, lane / 8 % 2) * 16;
    value = value_token * kPackedRowBytes + SwizzledPiece(value_token, lane / 16) * 16;
    query = row * kPackedRowBytes + SwizzledPiece(row, lane / 16) * 16;
  }
};

// Scores of 16 tokens: in `scores` the products with keys, as powers of two, masked from each row's
// limit on.
template <typename Kind>
__device__ __forceinline__ void Score(const int (&limits)[Kind::kProducts][2], uint32_t keys,
                                      uint32_t queries, const FragmentOffsets& offsets,
                                      int first_token, float scale,
                                      float (&scores)[Kind::kProducts][2][4]) {
#pragma unroll
  for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
    for (int i = 0; i < 8; ++i) scores[p][i / 4][i % 4] = 0;
  }
#pragma unroll
  for (int step = 0; step < Kind::kHeadDim / 16; ++step) {
    uint32_t key[4];
    LoadMatrices(keys + step / 4 * kGroupedTileBytes + (offsets.key ^ step % 4 * 32), key);
#pragma unroll
    for (int p = 0; p < Kind::kProducts; ++p) {
      uint32_t query[4];
      LoadMatrices(queries + step / 4 * Kind::kRows * kPackedRowBytes +
                       p * kRowsOfProduct * kPackedRowBytes + (offsets.query ^ step % 4 * 32),
                   query);
      MultiplyFragments(scores[p][0], query, key[0], key[1]);
      MultiplyFragments(scores[p][1], query, key[2], key[3]);
    }
  }
  const int own_token = first_token + static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float& score = scores[p][i / 4][i % 4];
      const int token = own_token + i / 4 * 8 + i % 2;
      score = token < limits[p][i % 4 / 2] ? score * scale : kMasked;
    }
  }
}

// Takes the scores into the running maxima and masses; in `weights` the probabilities relative to
// the new maxima, as a product's first operand.
template <typename Kind>
__device__ __forceinline__ void Weigh(float (&scores)[Kind::kProducts][2][4], Run<Kind>& run,
                                      uint32_t (&weights)[Kind::kProducts][4]) {
  float shrink[Kind::kProducts][2];
  bool shrinks = false;
#pragma unroll
  for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float& a = scores[p][0][2 * half];
      float& b = scores[p][0][2 * half + 1];
      float& c = scores[p][1][2 * half];
      float& d = scores[p][1][2 * half + 1];
      float highest = fmaxf(fmaxf(a, b), fmaxf(c, d));
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
      highest = fmaxf(highest, run.highest[p][half]);
      shrink[p][half] = exp2f(run.highest[p][half] - highest);
      shrinks |= shrink[p][half] != 1;
      run.highest[p][half] = highest;
      a = exp2f(a - highest);
      b = exp2f(b - highest);
      c = exp2f(c - highest);
      d = exp2f(d - highest);
      run.mass[p][half] = run.mass[p][half] * shrink[p][half] + ((a + b) + (c + d));
      weights[p][half] = PackBf16(a, b);
      weights[p][2 + half] = PackBf16(c, d);
    }
  }
  if (!__any_sync(~0u, shrinks)) return;
#pragma unroll
  for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
    for (int c = 0; c < Kind::kHeadDim / 8; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) run.sums[p][c][i] *= shrink[p][i / 2];
    }
  }
}

// Adds the values of 16 tokens. Those from `tokens` on do not exist; whatever is there, they count
// as zero.
template <typename Kind>
__device__ __forceinline__ void AddValues(uint32_t values, const FragmentOffsets& offsets,
                                          int tokens, const uint32_t (&weights)[Kind::kProducts][4],
                                          Run<Kind>& run) {
  uint32_t exists[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int token = i * 8 + static_cast<int>(threadIdx.x % 4) * 2;
    exists[i] = (token < tokens ? 0xFFFFu : 0) | (token + 1 < tokens ? 0xFFFF0000u : 0);
  }
#pragma unroll
  for (int c = 0; c < Kind::kHeadDim / 16; ++c) {
    uint32_t value[4];
    LoadMatricesTransposed(values + c / 4 * kGroupedTileBytes + (offsets.value ^ c % 4 * 32),
                           value);
#pragma unroll
    for (int i = 0; i < 4; ++i) value[i] &= exists[i % 2];
#pragma unroll
    for (int p = 0; p < Kind::kProducts; ++p) {
      MultiplyFragments(run.sums[p][2 * c], weights[p], value[0], value[1]);
      MultiplyFragments(run.sums[p][2 * c + 1], weights[p], value[2], value[3]);
    }
  }
}

// Leaves sums and states of every warp in shared memory, or in the workspace where a prefix breaks
// off. By the attending threads.
template <typename Kind, GqaPart kPart, bool kHasInput>
__device__ __forceinline__ void AttendQuarters(const KernelArgs& args,
                                               const Item<kPart, Kind::kPairs>& item,
                                               Shared<Kind>& shared) {
  const GqaDecodeBf16Args& call = args.call;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int quarter = warp % kQuarters;
  const int first_row = warp / kQuarters * Kind::kRowsOfSet;
  const float scale = call.scale * kLog2E;
  const uint32_t queries = SharedAddress(shared.queries);
  const FragmentOffsets offsets(lane, quarter, first_row);
  Run<Kind> run(call, item, first_row);
  if constexpr (kPart == GqaPart::kRest) {
    if (item.continues) {
      WaitForPriorKernels();
      run.LoadChain(args, item, first_row, quarter);
    }
  }
  const BlockOrder<Kind::kPairs> order(call, item);
  for (int i = 0; i < order.blocks; ++i) {
    const typename BlockOrder<Kind::kPairs>::Block block = order[i];
    const int stage = i % Kind::kStages;
    const int first_token = block.number * kGroupedBlockTokens + quarter * kQuarterTokens;
    BarrierWait(SharedAddress(&shared.full[stage]), i / Kind::kStages % 2);
    if constexpr (kHasInput) {
      // Nobody shares the block with a row's last token.
      if (block.row >= 0) {
        const int token = LastToken(call, item, block.row) - first_token;
        if (token >= 0 && token < kQuarterTokens) {
          PlaceLastToken(shared, block.row, quarter * kQuarterTokens + token, shared.stages[stage]);
        }
      }
    }
    const uint32_t keys = SharedAddress(shared.stages[stage]);
    float scores[Kind::kProducts][2][4];
    uint32_t weights[Kind::kProducts][4];
    if constexpr (Kind::kPairs) {
      int limits[Kind::kProducts][2];
      run.LimitsIn(block.row, limits);
      Score<Kind>(limits, keys, queries, offsets, first_token, scale, scores);
    } else {
      Score<Kind>(run.limits, keys, queries, offsets, first_token, scale, scores);
    }
    Weigh<Kind>(scores, run, weights);
    AddValues<Kind>(keys + GroupedKeyBytes(Kind::kHeadDim), offsets,
                    block.tokens - quarter * kQuarterTokens, weights, run);
    BarrierArrive(SharedAddress(&shared.empty[stage]));
  }
  if constexpr (kPart == GqaPart::kPrefixes) {
    if (item.breaks_off) {
      run.StoreChain(args, item, first_row, quarter);
      return;
    }
  }
  // Nobody reads the stages any more: sums take their place.
  NamedBarrierSync(1, Kind::kAttendThreads);
#pragma unroll
  for (int p = 0; p < Kind::kProducts; ++p) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = p * kRowsOfProduct + half * 8 + lane / 4;
      float mass = run.mass[p][half];
      mass += __shfl_xor_sync(~0u, mass, 1);
      mass += __shfl_xor_sync(~0u, mass, 2);
      if (lane % 4 == 0) shared.states[warp][row] = make_float2(run.highest[p][half], mass);
#pragma unroll
      for (int c = 0; c < Kind::kHeadDim / 8; ++c) {
        shared.sums[warp][row][c * 4 + lane % 4] =
            make_float2(run.sums[p][c][2 * half], run.sums[p][c][2 * half + 1]);
      }
    }
  }
  NamedBarrierSync(1, Kind::kAttendThreads);
}

// --- results
// -------------------------------------------------------------------------------------------------

// A row's sums while parts of it are merged: a lane has pairs of channels, 32 lanes apart.
template <int kHeadDim>
struct Merged {
  static constexpr int kPairs = kHeadDim / 64;
  float mass = 0;
  float2 sums[kPairs] = {};

  // Where lane's pair i is among a row's pairs.
  static __device__ int Pair(int i) { return i * 32 + static_cast<int>(threadIdx.x % 32); }

  __device__ __forceinline__ void Add(float2 state, const float2 (&values)[kPairs], float highest) {
    const float factor = exp2f(state.x - highest);
    mass = fmaf(state.y, factor, mass);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      sums[i].x = fmaf(values[i].x, factor, sums[i].x);
      sums[i].y = fmaf(values[i].y, factor, sums[i].y);
    }
  }

  __device__ __forceinline__ void Store(__nv_bfloat16* head) const {
    const float scale = 1 / mass;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      reinterpret_cast<uint32_t*>(head)[Pair(i)] = PackBf16(sums[i].x * scale, sums[i].y * scale);
    }
  }
};

// The quarters of this split to the result, or to the workspace when a row has more splits. A warp
// a row.
template <typename Kind, GqaPart kPart>
__device__ __forceinline__ void MergeQuarters(const KernelArgs& args,
                                              const Item<kPart, Kind::kPairs>& item,
                                              const Shared<Kind>& shared) {
  constexpr int kPairs = Merged<Kind::kHeadDim>::kPairs;
  const GqaDecodeBf16Args& call = args.call;
  for (int row = threadIdx.x / 32; row < item.rows(); row += Kind::kWarps) {
    const int splits = item.Splits(call, row);
    if (item.split >= splits) continue;
    const int first_warp = row / Kind::kRowsOfSet * kQuarters;
    const int row_of_set = row % Kind::kRowsOfSet;
    float highest = kLowest;
#pragma unroll
    for (int q = 0; q < kQuarters; ++q)
      highest = fmaxf(highest, shared.states[first_warp + q][row_of_set].x);
    Merged<Kind::kHeadDim> merged;
#pragma unroll
    for (int q = 0; q < kQuarters; ++q) {
      const float2* const sums = shared.sums[first_warp + q][row_of_set];
      float2 values[kPairs];
#pragma unroll
      for (int i = 0; i < kPairs; ++i) values[i] = sums[merged.Pair(i)];
      merged.Add(shared.states[first_warp + q][row_of_set], values, highest);
    }
    if (splits == 1) {
      merged.Store(call.out + item.Head(call, row) * Kind::kHeadDim);
      continue;
    }
    const int64_t split = item.FirstSplit(args, row) + item.split;
    if (threadIdx.x % 32 == 0) args.states[split] = make_float2(highest, merged.mass);
#pragma unroll
    for (int i = 0; i < kPairs; ++i)
      args.sums[split * (Kind::kHeadDim / 2) + merged.Pair(i)] = merged.sums[i];
  }
}

// Whether this block is the last of its tile and key head to come here; then all others' results
// are visible. By the attending threads.
template <typename Kind>
__device__ __forceinline__ bool IsLastSplit(const GqaDecodeBf16Args& call, int splits,
                                            Shared<Kind>& shared) {
  __threadfence();
  NamedBarrierSync(1, Kind::kAttendThreads);
  if (threadIdx.x == 0) {
    uint32_t* const counter = call.counters + blockIdx.x * call.kv_heads + blockIdx.y;
    shared.is_last = atomicAdd(counter, 1) + 1 == static_cast<uint32_t>(splits);
    if (shared.is_last) *counter = 0;
  }
  NamedBarrierSync(1, Kind::kAttendThreads);
  __threadfence();
  return shared.is_last;
}

// The splits of every row that has several, in order. A warp a row.
template <typename Kind, GqaPart kPart>
__device__ __forceinline__ void MergeSplits(const KernelArgs& args,
                                            const Item<kPart, Kind::kPairs>& item) {
  constexpr int kPairs = Merged<Kind::kHeadDim>::kPairs;
  const GqaDecodeBf16Args& call = args.call;
  for (int row = threadIdx.x / 32; row < item.rows(); row += Kind::kWarps) {
    const int splits = item.Splits(call, row);
    if (splits == 1) continue;
    const float2* const states = args.states + item.FirstSplit(args, row);
    const float2* const sums = args.sums + item.FirstSplit(args, row) * (Kind::kHeadDim / 2);
    float highest = kLowest;
    for (int split = threadIdx.x % 32; split < splits; split += 32)
      highest = fmaxf(highest, __ldcg(states + split).x);
    highest = WarpMax(highest);
    Merged<Kind::kHeadDim> merged;
#pragma unroll 4
    for (int split = 0; split < splits; ++split) {
      float2 values[kPairs];
#pragma unroll
      for (int i = 0; i < kPairs; ++i)
        values[i] = __ldcg(sums + split * (Kind::kHeadDim / 2) + merged.Pair(i));
      merged.Add(__ldcg(states + split), values, highest);
    }
    merged.Store(call.out + item.Head(call, row) * Kind::kHeadDim);
  }
}

template <typename Kind, GqaPart kPart, bool kHasInput>
__global__ void __launch_bounds__(Kind::kThreads, Kind::kBlocks)
    GqaDecodeKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<Shared<Kind>*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Kind::kStages; ++stage) {
      BarrierInit(SharedAddress(&shared.full[stage]), 1);
      BarrierInit(SharedAddress(&shared.empty[stage]), Kind::kAttendThreads);
    }
    BarrierInitFence();
  }
  __syncthreads();
  // The rest begins when the prefixes do, and so when all before them is complete.
  if (kPart != GqaPart::kRest && !kHasInput) WaitForPriorKernels();
  AllowDependentKernels();
  const Item<kPart, Kind::kPairs> item(args.call);
  if (item.tokens <= 0) return;
  if (threadIdx.x >= Kind::kAttendThreads) {
    RequestBlocks(args.call, item, shared);
    return;
  }
  if constexpr (kHasInput) {
    MakeInputs(args.call, item, shared);
  } else {
    LoadQueries(args.call, item, shared);
  }
  NamedBarrierSync(1, Kind::kAttendThreads);
  AttendQuarters<Kind, kPart, kHasInput>(args, item, shared);
  if (item.breaks_off) return;
  MergeQuarters(args, item, shared);
  if (kPart == GqaPart::kPrefixes) return;
  const int splits = DivideUp(item.LongestContext(args.call), args.call.split_tokens);
  if (kPart == GqaPart::kRest && splits > 1) WaitForPriorKernels();
  if (splits > 1 && IsLastSplit(args.call, splits - item.first_split, shared))
    MergeSplits<Kind, kPart>(args, item);
}

template <typename Kind, GqaPart kPart, bool kHasInput = false>
cudaError_t LaunchPart(const KernelArgs& args, cudaStream_t stream) {
  static_assert(sizeof(Shared<Kind>) * Kind::kBlocks <= (227 - Kind::kBlocks) << 10);
  const GqaDecodeBf16Args& call = args.call;
  const int splits = kPart == GqaPart::kPrefixes ? DivideUp(call.prefixes_max, call.split_tokens)
                                                 : args.splits_max;
  const int tiles = Kind::kPairs ? DivideUp(call.tile_count, 2) : call.tile_count;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(call.kv_heads),
                  static_cast<unsigned>(splits));
  return LaunchDependent(GqaDecodeKernel<Kind, kPart, kHasInput>, grid, Kind::kThreads,
                         static_cast<int>(sizeof(Shared<Kind>)), stream, args);
}

// All parts of tiles of one row, or of two.
template <typename Kind>
cudaError_t LaunchRows(const KernelArgs& args, cudaStream_t stream) {
  return args.call.input.input == nullptr ? LaunchPart<Kind, GqaPart::kAll>(args, stream)
                                          : LaunchPart<Kind, GqaPart::kAll, true>(args, stream);
}

template <typename Kind>
cudaError_t Launch(const KernelArgs& args, cudaStream_t stream) {
  switch (args.call.part) {
    case GqaPart::kPrefixes:
      return LaunchPart<Kind, GqaPart::kPrefixes>(args, stream);
    case GqaPart::kRest:
      return LaunchPart<Kind, GqaPart::kRest>(args, stream);
    default:
      if constexpr (Kind::kRows == kRowsOfProduct) {
        return LaunchRows<Kind>(args, stream);
      } else {
        return LaunchPart<Kind, GqaPart::kAll>(args, stream);
      }
  }
}

// Whether a call may begin with what was projected.
bool TakesInput(const GqaDecodeBf16Args& call) {
  static_assert(kGqaInputHeadsMax == kRowsOfProduct);
  const GqaInputBf16Args& input = call.input;
  if (call.part != GqaPart::kAll || call.tiles != nullptr || call.tile_rows_max != 1) return false;
  if (call.heads / call.kv_heads > kGqaInputHeadsMax) return false;
  if (input.heads != call.heads || input.kv_heads != call.kv_heads) return false;
  if (input.head_dim != call.head_dim || input.cache != call.cache) return false;
  return input.input_stride % kGqaPiece == 0 &&
         (input.query_norm == nullptr) == (input.key_norm == nullptr);
}

}  // namespace

int GqaDecodeBf16Sm90FastSplit(int rows, int kv_heads, int contexts_max) {
  // In the time that a block takes for one token: what comes with every item, and with every split
  // to merge.
  constexpr int kItemTokens = 100;
  constexpr int kMergeTokens = 4;
  const int blocks_at_once = 2 * MultiprocessorCount();
  int best = kGqaSplitTokensMax;
  int64_t best_cost = INT64_MAX;
  for (int split_tokens = kGqaSplitTokensMax; split_tokens >= 2 * kGroupedBlockTokens;
       split_tokens /= 2) {
    const int splits = DivideUp(contexts_max, split_tokens);
    const int64_t rounds = DivideUp(rows * kv_heads * splits, blocks_at_once);
    const int64_t cost = rounds * (split_tokens + kItemTokens) + kMergeTokens * splits;
    if (cost < best_cost) {
      best_cost = cost;
      best = split_tokens;
    }
  }
  return best;
}

int64_t GqaDecodeBf16Sm90WorkspaceBytes(int rows, int heads, int head_dim, int contexts_max,
                                        int split_tokens, bool shares_prefixes) {
  const int64_t splits = DivideUp(contexts_max, split_tokens);
  const int64_t pairs = splits * (head_dim / 2 + 1) + (shares_prefixes ? ChainPairs(head_dim) : 0);
  return int64_t{rows} * heads * pairs * static_cast<int64_t>(sizeof(float2));
}

cudaError_t GqaDecodeBf16Sm90(const GqaDecodeBf16Args& call, cudaStream_t stream) {
  if (call.kv_heads < 1 || call.heads < 1 || call.heads % call.kv_heads != 0)
    return cudaErrorInvalidValue;
  if (!IsGroupedHeadDim(call.head_dim) || call.kv_heads > 65535) return cudaErrorInvalidValue;
  if (call.tile_count < 1 || call.tile_rows_max < 1 || call.contexts_max < 1)
    return cudaErrorInvalidValue;
  const int tile_heads = call.tile_rows_max * (call.heads / call.kv_heads);
  if (tile_heads > kGqaTileHeadsMax) return cudaErrorInvalidValue;
  if (call.split_tokens < kGroupedBlockTokens || call.split_tokens > kGqaSplitTokensMax)
    return cudaErrorInvalidValue;
  if (call.split_tokens % kGroupedBlockTokens != 0) return cudaErrorInvalidValue;
  if (call.input.input != nullptr && !TakesInput(call)) return cudaErrorInvalidValue;
  if (call.prefixes == nullptr && call.part != GqaPart::kAll) return cudaErrorInvalidValue;
  if (call.part == GqaPart::kPrefixes && call.prefixes_max < 1) return cudaErrorInvalidValue;
  const int splits_max = DivideUp(call.contexts_max, call.split_tokens);
  auto* const sums = static_cast<float2*>(call.workspace);
  const int rows =
      call.part == GqaPart::kAll ? call.tile_count * call.tile_rows_max : call.workspace_rows;
  const int64_t row_heads = int64_t{rows} * call.heads;
  float2* const states = sums + row_heads * splits_max * (call.head_dim / 2);
  float2* const chain_sums = states + row_heads * splits_max;
  const KernelArgs args = {.call = call,
                           .sums = sums,
                           .states = states,
                           .chain_sums = chain_sums,
                           .chain_states = chain_sums + row_heads * kQuarters * (call.head_dim / 2),
                           .splits_max = splits_max};
  // More rows than run at once anyway.
  const bool pairs = call.part == GqaPart::kAll && call.tiles == nullptr &&
                     2 * tile_heads <= kRowsOfProduct &&
                     call.tile_count * call.kv_heads > 2 * MultiprocessorCount();
  if (pairs) {
    return call.head_dim == 64 ? LaunchRows<BlockKind<64, 1, 1, true>>(args, stream)
                               : LaunchRows<BlockKind<128, 1, 1, true>>(args, stream);
  }
  if (tile_heads <= kRowsOfProduct) {
    return call.head_dim == 64 ? Launch<BlockKind<64, 1, 1>>(args, stream)
                               : Launch<BlockKind<128, 1, 1>>(args, stream);
  }
  return call.head_dim == 64 ? Launch<BlockKind<64, 2, 2>>(args, stream)
                             : Launch<BlockKind<128, 2, 2>>(args, stream);
}

}  // namespace r1::kernels
