// MoeExperts (one block a multiprocessor) walks the work list. A block that has finished its
// gate-up tiles goes on with down tiles: their weights are requested at once, and only the token
// rows wait until the expert's tile of SwiGLU results is complete in all columns. Another kernel
// adds each token's results up, or what takes them in does: counting them here until the last one
// is there took longer. The list is built by every block for itself when it is short, otherwise by
// a kernel of one cluster before. With few tokens, shared experts come first: their weights are
// under way while the router still chooses.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_experts.cuh"
#include "kernels/cuda/moe_experts_wide_bf16_sm90.h"
#include "kernels/cuda/moe_results.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kPlanThreads = 1024;
constexpr int kPlanBlocks = 8;
constexpr int kSumThreads = 256;
// Up to this many places every block builds the work list itself, which saves a launch.
constexpr int kOwnPlanPlaces = 2048;
// Up to this many tokens the router leaves half of the multiprocessors to blocks of this kernel, or
// more.
constexpr int kSharedFirstTokens = 256;

// Where memory sets the pace, the warpgroups take tiles in turn, which hides what follows a tile's
// product; low tiles where they share out the work better. With many tokens an expert, arithmetic
// sets the pace: moe_experts_wide_bf16_sm90.h.
using Low = TileKind<1, true, 1>;
using InTurn = TileKind<2, true, 1>;
// FP8 weights become bf16 on their way, which takes all warpgroups at once: four, while their
// registers hold the sums; tiles are low where high ones would be too few.
using LowFp8 = TileKind<1, false, 1, true>;
using FourFp8 = TileKind<1, false, 1, true, 4>;
using HighFp8 = TileKind<2, false, 1, true>;
constexpr int kTileTokensMin = 8;

// Named barriers behind those of MultiplyTile.
constexpr int kListWarps = 5;  // of the warps that build the work list
constexpr int kListBuilt = 6;  // they arrive, the warp that requests weights waits

MoeWorkspace PlaceWorkspace(const MoeExpertsBf16Shape& shape, int tokens, void* memory) {
  MoeWorkspace space = {};
  auto take = [&]<typename T>(T** pointer, int64_t count) {
    *pointer = reinterpret_cast<T*>(static_cast<uint8_t*>(memory) + space.bytes);
    space.bytes += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
  };
  const int64_t places = int64_t{tokens} * (shape.active + shape.shared_experts);
  const int token_tiles_max =
      static_cast<int>(places / kTileTokensMin) + shape.experts + shape.shared_experts;
  take(&space.progress, token_tiles_max);
  take(&space.plan.expert, kMoePlanEntriesMax);
  take(&space.plan.place_begin, kMoePlanEntriesMax);
  take(&space.plan.tile_begin, kMoePlanEntriesMax);
  take(&space.place_token, places);
  take(&space.token_places, places);
  take(&space.hidden, places * shape.intermediate);
  take(&space.results, places * shape.hidden);
  return space;
}

__host__ __device__ MoeResults Results(const MoeKernelArgs& args) {
  return {.results = args.space.results,
          .places = args.space.token_places,
          .weights = args.call.weights,
          .active = args.call.shape.active,
          .shared = args.call.shape.shared_experts};
}

// --- work list
// -------------------------------------------------------------------------------------------------

// The work list of a call, in memory or in shared memory.
struct WorkList {
  MoePlan plan;
  int* place_token;
  int* token_places;  // may be null
};

template <int kWarps>
struct PlanScratch {
  int pairs[kWarps][kMoeExpertsMax];  // of each warp for each expert, then its next place
  int block_pairs[kMoeExpertsMax];    // of this block
  int tokens[kMoeExpertsMax];
  int place_begin[kMoeExpertsMax];
};

// Writes the plan's entries from the number of tokens of each routed expert, and the routed
// experts' first places. By one warp.
template <int kWarps>
__device__ void WriteEntries(const MoeKernelArgs& args, const MoePlan& plan,
                             PlanScratch<kWarps>& scratch) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int lane = threadIdx.x % 32;
  const int all = shape.experts + shape.shared_experts;
  const int share = DivideUp(all, 32);
  auto tokens_of = [&](int expert) {
    return expert < shape.experts ? scratch.tokens[expert] : args.call.tokens;
  };
  int entries = 0;
  int places = 0;
  int tiles = 0;
  const int begin = lane * share < all ? lane * share : all;
  const int end = begin + share < all ? begin + share : all;
  for (int expert = begin; expert < end; ++expert) {
    const int tokens = tokens_of(expert);
    entries += tokens > 0;
    places += tokens;
    tiles += DivideUp(tokens, args.tiling.tile_tokens);
  }
  int entries_total, places_total, tiles_total;
  entries = WarpPrefix(entries, &entries_total);
  places = WarpPrefix(places, &places_total);
  tiles = WarpPrefix(tiles, &tiles_total);
  for (int expert = begin; expert < end; ++expert) {
    const int tokens = tokens_of(expert);
    if (tokens == 0) continue;
    plan.expert[entries] = expert;
    plan.place_begin[entries] = places;
    plan.tile_begin[entries] = tiles;
    if (expert < shape.experts) scratch.place_begin[expert] = places;
    ++entries;
    places += tokens;
    tiles += DivideUp(tokens, args.tiling.tile_tokens);
  }
  for (int entry = entries_total + lane; entry <= all; entry += 32) {
    plan.expert[entry] = 0;
    plan.place_begin[entry] = places_total;
    plan.tile_begin[entry] = tiles_total;
  }
}

// The lanes with the same expert as this one's. (One vote a bit of the id: the instruction made for
// this is much slower.)
__device__ __forceinline__ unsigned LanesWithSame(int expert, int expert_bits) {
  unsigned same = ~0u;
  for (int bit = 0; bit < expert_bits; ++bit) {
    const bool set = (expert >> bit & 1) != 0;
    const unsigned lanes = __ballot_sync(~0u, set);
    same &= set ? lanes : ~lanes;
  }
  return same;
}

// Calls visit(pair, expert, same) for the run of the T * A pairs that is the `warp`-th one's of
// `warps`, 32 at a time, in order; `same` are the lanes with the same expert. Lanes behind the end
// get no_expert. Ids are fetched ahead, so that their latency counts once.
template <typename Visit>
__device__ __forceinline__ void VisitPairs(const MoeExpertsBf16Args& call, int warp, int warps,
                                           Visit visit) {
  constexpr int kAhead = 8;
  const int no_expert = call.shape.experts;
  const int expert_bits = 32 - __clz(no_expert);
  const int pairs = call.tokens * call.shape.active;
  const int share = DivideUp(DivideUp(pairs, warps), 32) * 32;
  const int begin = warp * share;
  const int end = begin + share < pairs ? begin + share : pairs;
  for (int base = begin; base < end; base += 32 * kAhead) {
    int experts[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int pair = base + i * 32 + static_cast<int>(threadIdx.x % 32);
      experts[i] = pair < end ? call.experts[pair] : no_expert;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (base + i * 32 >= end) break;
      visit(base + i * 32 + static_cast<int>(threadIdx.x % 32), experts[i],
            LanesWithSame(experts[i], expert_bits));
    }
  }
}

// By the kThreads threads of a block, or of each of a cluster of kBlocks, from kFirstThread on.
// Each warp owns a run of the pairs, so that places follow the order of tokens whatever the timing,
// and all blocks that build a list build the same.
template <int kThreads, int kFirstThread = 0, int kBlocks = 1>
__device__ void BuildWorkList(const MoeKernelArgs& args, const WorkList& list,
                              PlanScratch<kThreads / 32>& scratch) {
  constexpr int kWarps = kThreads / 32;
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int slots = shape.active + shape.shared_experts;
  const int pairs = args.call.tokens * shape.active;
  const int thread = static_cast<int>(threadIdx.x) - kFirstThread;
  const int lane = thread % 32;
  const int rank = kBlocks > 1 ? static_cast<int>(ClusterRank()) : 0;
  const int warp = rank * kWarps + thread / 32;
  int* const own_pairs = scratch.pairs[thread / 32];
  for (int i = thread; i < kWarps * shape.experts; i += kThreads) {
    scratch.pairs[i / shape.experts][i % shape.experts] = 0;
  }
  for (int i = rank * kThreads + thread; i < args.call.tokens * shape.shared_experts;
       i += kThreads * kBlocks) {
    const int token = i % args.call.tokens;
    list.place_token[pairs + i] = token;
    if (list.token_places != nullptr)
      list.token_places[token * slots + shape.active + i / args.call.tokens] = pairs + i;
  }
  NamedBarrierSync(kListWarps, kThreads);
  VisitPairs(args.call, warp, kWarps * kBlocks, [&](int, int expert, unsigned same) {
    if (expert < shape.experts && __ffs(same) - 1 == lane) own_pairs[expert] += __popc(same);
    __syncwarp();
  });
  NamedBarrierSync(kListWarps, kThreads);
  for (int expert = thread; expert < shape.experts; expert += kThreads) {
    int sum = 0;
#pragma unroll 4
    for (int w = 0; w < kWarps; ++w) {
      const int of_warp = scratch.pairs[w][expert];
      scratch.pairs[w][expert] = sum;
      sum += of_warp;
    }
    scratch.block_pairs[expert] = sum;
    scratch.tokens[expert] = sum;
  }
  if constexpr (kBlocks > 1) {
    ClusterSync();
    for (int expert = thread; expert < shape.experts; expert += kThreads) {
      int before = 0;
      int all = 0;
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const int of_block = LoadOfBlock(SharedAddress(&scratch.block_pairs[expert]), block);
        before += block < rank ? of_block : 0;
        all += of_block;
      }
      for (int w = 0; w < kWarps; ++w) scratch.pairs[w][expert] += before;
      scratch.tokens[expert] = all;
    }
    // What others read must stay until they have.
    ClusterSync();
  }
  NamedBarrierSync(kListWarps, kThreads);
  if (thread < 32) WriteEntries(args, list.plan, scratch);
  NamedBarrierSync(kListWarps, kThreads);
  VisitPairs(args.call, warp, kWarps * kBlocks, [&](int pair, int expert, unsigned same) {
    if (expert < shape.experts) {
      const int place =
          scratch.place_begin[expert] + own_pairs[expert] + __popc(same & ((1u << lane) - 1));
      list.place_token[place] = pair / shape.active;
      if (list.token_places != nullptr)
        list.token_places[pair / shape.active * slots + pair % shape.active] = place;
    }
    __syncwarp();
    if (expert < shape.experts && __ffs(same) - 1 == lane) own_pairs[expert] += __popc(same);
    __syncwarp();
  });
}

__global__ void __launch_bounds__(kPlanThreads)
    BuildWorkListKernel(const __grid_constant__ MoeKernelArgs args) {
  __shared__ PlanScratch<kPlanThreads / 32> scratch;
  AllowDependentKernels();
  WaitForPriorKernels();
  const WorkList list = {args.space.plan, args.space.place_token, args.space.token_places};
  BuildWorkList<kPlanThreads, 0, kPlanBlocks>(args, list, scratch);
}

// --- epilogues
// -------------------------------------------------------------------------------------------------

// silu(gate) * up of 32 columns a row tile, rounded, to hidden[place, column].
template <typename Kind, int kN>
__device__ __forceinline__ void StoreHidden(const MoeKernelArgs& args, const MoeTile& tile,
                                            int warpgroup,
                                            const float (&sums)[Kind::kRowTiles][kN / 2]) {
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const int width = args.call.shape.intermediate;
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
    const int column =
        tile.row_begin / 2 + Kind::RowTile(r, warpgroup) * 32 + warp * 8 + lane % 4 * 2;
    __nv_bfloat16* const target =
        args.space.hidden + int64_t{tile.place + lane / 4} * width + column;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const float* sum = &sums[r][4 * j];
      const uint32_t pair =
          TransposeFragment(PackBf16(Silu(sum[0]) * sum[2], Silu(sum[1]) * sum[3]));
      if (8 * j + lane / 4 < tile.tokens)
        *reinterpret_cast<uint32_t*>(target + int64_t{8 * j} * width) = pair;
    }
  }
}

// Results of 64 columns a row tile, rounded, to results[place, column].
template <typename Kind, int kN>
__device__ __forceinline__ void StoreResults(const MoeKernelArgs& args, const MoeTile& tile,
                                             int warpgroup,
                                             const float (&sums)[Kind::kRowTiles][kN / 2]) {
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const int width = args.call.shape.hidden;
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
    const int column = tile.row_begin + Kind::RowTile(r, warpgroup) * 64 + warp * 16 + lane % 4 * 2;
    __nv_bfloat16* const target =
        args.space.results + int64_t{tile.place + lane / 4} * width + column;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const float* sum = &sums[r][4 * j];
      const uint32_t low = TransposeFragment(PackBf16(sum[0], sum[1]));
      const uint32_t high = TransposeFragment(PackBf16(sum[2], sum[3]));
      if (8 * j + lane / 4 < tile.tokens) {
        uint32_t* const row = reinterpret_cast<uint32_t*>(target + int64_t{8 * j} * width);
        row[0] = low;
        row[4] = high;
      }
    }
  }
}

__global__ void __launch_bounds__(kSumThreads)
    SumTokensKernel(const __grid_constant__ MoeKernelArgs args) {
  AllowDependentKernels();
  WaitForPriorKernels();
  const MoeExpertsBf16Args& call = args.call;
  const int token = blockIdx.x;
  for (int column = threadIdx.x * 8; column < call.shape.hidden; column += kSumThreads * 8) {
    float sums[8] = {};
    AddResults(Results(args), token, column, call.shape.hidden, sums);
    *reinterpret_cast<uint4*>(call.out + token * call.out_stride + column) =
        make_uint4(PackBf16(sums[0], sums[1]), PackBf16(sums[2], sums[3]),
                   PackBf16(sums[4], sums[5]), PackBf16(sums[6], sums[7]));
  }
}

// --- roles
// -------------------------------------------------------------------------------------------------

template <typename Kind, int kN>
__device__ __forceinline__ void MultiplyTile(const MoeKernelArgs& args, const MoeTile& tile,
                                             int warpgroup, Ring<Kind>& ring) {
  float sums[Kind::kRowTiles][kN / 2];
  const MoeExpertsBf16Shape& shape = args.call.shape;
  Multiply<Kind, kN>(ring, tile.down ? shape.intermediate : shape.hidden, warpgroup, sums);
  if (tile.down) {
    StoreResults<Kind, kN>(args, tile, warpgroup, sums);
  } else {
    StoreHidden<Kind, kN>(args, tile, warpgroup, sums);
  }
  NamedBarrierSync(1 + warpgroup, kWarpgroupThreads);
  if (threadIdx.x % kWarpgroupThreads == 0) CountMoeShare(args, tile.token_tile);
}

template <typename Kind, int kN, int... kLarger>
__device__ __forceinline__ void MultiplyTileOfWidth(const MoeKernelArgs& args, const MoeTile& tile,
                                                    int warpgroup, Ring<Kind>& ring) {
  if constexpr (sizeof...(kLarger) > 0) {
    if (tile.tokens > kN) {
      MultiplyTileOfWidth<Kind, kLarger...>(args, tile, warpgroup, ring);
      return;
    }
  }
  MultiplyTile<Kind, kN>(args, tile, warpgroup, ring);
}

template <typename Kind, int... kWidths>
__device__ __forceinline__ void MultiplyTiles(const MoeKernelArgs& args, MoePlanCursor cursor,
                                              Ring<Kind> ring) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
  MoeTile tile;
  for (int turn = 0; cursor.Next(&tile); turn ^= 1) {
    if (Kind::kInTurn && turn != warpgroup) {
      ring.Skip((tile.down ? shape.intermediate : shape.hidden) / kPackedBlockColumns);
      continue;
    }
    MultiplyTileOfWidth<Kind, kWidths...>(args, tile, warpgroup, ring);
  }
}

// Blocks of columns of a tile.
__device__ __forceinline__ int ColumnBlocks(const MoeExpertsBf16Shape& shape, const MoeTile& tile) {
  return (tile.down ? shape.intermediate : shape.hidden) / kPackedBlockColumns;
}

// Requests the tile's weights from block of columns `begin` up to `end`.
template <typename Kind>
__device__ __forceinline__ void RequestTile(const MoeKernelArgs& args, const MoeTile& tile,
                                            int begin, int end, Ring<Kind>& ring) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  // Other tiles come back for the same weights of a shared expert.
  const bool once = tile.alone || tile.expert < shape.experts;
  const uint64_t policy = once ? PolicyEvictFirst() : PolicyEvictNormal();
  const int rows = tile.down ? shape.hidden : 2 * shape.intermediate;
  const int columns = tile.down ? shape.intermediate : shape.hidden;
  const uint8_t* const matrices = tile.down ? args.call.down : args.call.gate_up;
  if constexpr (Kind::kFp8) {
    StreamFp8Weights(ring, matrices + tile.expert * Fp8PackedBytes(rows, columns), columns, begin,
                     end, tile.row_begin, policy);
  } else {
    StreamWeights(ring,
                  matrices + tile.expert * PackedBytes(rows, columns) + begin * kPackedBlockBytes,
                  columns, end - begin, tile.row_begin, tile.row_begin + Kind::kRows, policy);
  }
}

// Of the first tile `requested` blocks of columns are under way.
template <typename Kind>
__device__ __forceinline__ void RequestWeights(const MoeKernelArgs& args, MoePlanCursor cursor,
                                               int requested, Ring<Kind> ring) {
  MoeTile tile;
  for (; cursor.Next(&tile); requested = 0)
    RequestTile(args, tile, requested, ColumnBlocks(args.call.shape, tile), ring);
}

template <typename Kind>
__device__ __forceinline__ void GatherTokens(const MoeKernelArgs& args, const int* place_token,
                                             MoePlanCursor cursor, Ring<Kind> ring) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int thread = threadIdx.x - 32;
  MoeTile tile;
  while (cursor.Next(&tile)) {
    if (tile.down) {
      const unsigned* const progress = &args.space.progress[tile.token_tile];
      if (thread % 32 == 0) {
        while (LoadAcquire(progress) < args.down_begin) __nanosleep(20);
      }
      __syncwarp();
      const uint32_t row_pieces = shape.intermediate / 8;
      StreamTokens(ring, args.space.hidden + int64_t{tile.place} * shape.intermediate,
                   shape.intermediate, tile.tokens, thread,
                   [&](int row) { return row * row_pieces; });
    } else {
      const uint32_t row_pieces = static_cast<uint32_t>(args.call.x_stride / 8);
      const int* const tokens = place_token + tile.place;
      StreamTokens(ring, args.call.x, shape.hidden, tile.tokens, thread,
                   [&](int row) { return tokens[row] * row_pieces; });
    }
  }
}

template <typename Kind>
__device__ __forceinline__ void HandTokensOver(const MoeKernelArgs& args, MoePlanCursor cursor,
                                               Ring<Kind> ring) {
  MoeTile tile;
  while (cursor.Next(&tile)) {
    PublishTokens(ring, tile.down ? args.call.shape.intermediate : args.call.shape.hidden);
  }
}

// Shared memory behind the ring.
struct ListMemory {
  int expert[kMoePlanEntriesMax];
  int place_begin[kMoePlanEntriesMax];
  int tile_begin[kMoePlanEntriesMax];
  int own_places[1];  // places of a list that this block builds
};

template <typename Kind, int... kWidths>
__global__ void __launch_bounds__(Kind::kThreads, 1)
    MoeExpertsKernel(const __grid_constant__ MoeKernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  uint8_t* const barriers = shared + args.stream.bytes();
  const Ring<Kind> ring(args.stream, SharedAddress(shared), SharedAddress(barriers));
  auto& memory = *reinterpret_cast<ListMemory*>(barriers + kRingBarrierBytes);
  WorkList list = {.plan = {.expert = memory.expert,
                            .place_begin = memory.place_begin,
                            .tile_begin = memory.tile_begin},
                   .place_token = memory.own_places,
                   // For the kernel that adds up.
                   .token_places = blockIdx.x == 0 ? args.space.token_places : nullptr};
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int entries = shape.experts + shape.shared_experts;
  const MoeShared shared_experts = {.first_expert = shape.experts,
                                    .experts = shape.shared_experts,
                                    .tokens = args.call.tokens,
                                    .first_place = args.call.tokens * shape.active};
  // All warps but the first one build the list, in the last stages' place.
  constexpr int kListThreads = Kind::kThreads - 32;
  using Scratch = PlanScratch<kListThreads / 32>;
  const int scratch_stages = DivideUp(sizeof(Scratch), args.stream.weight_bytes);
  const int free_stages = args.stream.stages - scratch_stages;
  if (threadIdx.x == 0) ring.InitBarriers();
  __syncthreads();
  Ring<Kind> weights_ring = ring;
  int requested = 0;
  if (threadIdx.x < 32) {
    MoeTile tile;
    if (threadIdx.x == 0 &&
        MoePlanCursor::FirstOfShared(shared_experts, args.tiling, blockIdx.x, gridDim.x, &tile)) {
      requested = min(free_stages, ColumnBlocks(shape, tile));
      RequestTile(args, tile, 0, requested, weights_ring);
    }
    __syncwarp();
    NamedBarrierSync(kListBuilt, Kind::kThreads);
  } else {
    WaitForPriorKernels();
    AllowDependentKernels();
    if (args.own_places > 0) {
      auto& scratch = *reinterpret_cast<Scratch*>(shared + free_stages * args.stream.weight_bytes);
      BuildWorkList<kListThreads, 32>(args, list, scratch);
      FenceAsyncProxy();
    } else {
      for (int i = threadIdx.x - 32; i <= entries; i += kListThreads) {
        list.plan.expert[i] = args.space.plan.expert[i];
        list.plan.place_begin[i] = args.space.plan.place_begin[i];
        list.plan.tile_begin[i] = args.space.plan.tile_begin[i];
      }
      list.place_token = args.space.place_token;
    }
    NamedBarrierSync(kListWarps, kListThreads);
    NamedBarrierArrive(kListBuilt, Kind::kThreads);
  }

  const MoePlanCursor cursor(list.plan, list.plan.tile_begin[entries], shared_experts, args.tiling,
                             blockIdx.x, gridDim.x);
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<Kind::kGroups == 2 ? 88 : 64>();
    if (threadIdx.x == 0) {
      RequestWeights<Kind>(args, cursor, requested, weights_ring);
    } else if (threadIdx.x >= 32 && threadIdx.x < 32 + kGatherThreads) {
      GatherTokens<Kind>(args, list.place_token, cursor, ring);
    } else if (threadIdx.x == 32 + kGatherThreads) {
      HandTokensOver<Kind>(args, cursor, ring);
    }
    __syncwarp();
  } else {
    IncreaseRegisters<Kind::kGroups == 2 ? 208 : 104>();
    MultiplyTiles<Kind, kWidths...>(args, cursor, ring);
  }
}

// Room for the tokens of an expert in a tile: for most experts' under even routing, so that more of
// shared memory holds weights under way. Experts with more tokens get several tiles.
int TileTokens(const MoeExpertsBf16Shape& shape, int tokens) {
  const double mean = static_cast<double>(tokens) * shape.active / shape.experts;
  const double room = shape.shared_experts > 0 ? tokens : mean + 2 * std::sqrt(mean);
  int tile_tokens = kTileTokensMin;
  while (tile_tokens < room && tile_tokens < tokens && tile_tokens < kTileTokensMax)
    tile_tokens *= 2;
  return tile_tokens;
}

// Everything but the experts themselves, which launch_experts does. The plan is built by a kernel
// of its own unless args.own_places.
template <typename LaunchExperts>
cudaError_t LaunchAround(const MoeKernelArgs& args, cudaStream_t stream,
                         LaunchExperts launch_experts) {
  if (args.own_places == 0) {
    const cudaError_t error = LaunchDependent(BuildWorkListKernel, kPlanBlocks, kPlanThreads, 0,
                                              stream, args, kPlanBlocks);
    if (error != cudaSuccess) return error;
  }
  const cudaError_t error = launch_experts();
  if (error != cudaSuccess || args.call.out == nullptr) return error;
  return LaunchDependent(SumTokensKernel, args.call.tokens, kSumThreads, 0, stream, args);
}

template <typename Kind, int... kWidths>
cudaError_t Launch(MoeKernelArgs args, cudaStream_t stream) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int places = args.call.tokens * (shape.active + shape.shared_experts);
  args.own_places = places <= kOwnPlanPlaces ? places : 0;
  const int reserved =
      kRingBarrierBytes + static_cast<int>(sizeof(ListMemory) + args.own_places * sizeof(int));
  const int tile_tokens = std::min(std::max({kWidths...}), TileTokens(shape, args.call.tokens));
  args.stream = FitStream<Kind>(tile_tokens, reserved);
  args.tiling = {.tile_rows = Kind::kRows,
                 .tile_tokens = tile_tokens,
                 .gate_up_row_tiles = 2 * shape.intermediate / Kind::kRows,
                 .down_row_tiles = shape.hidden / Kind::kRows,
                 .shared_first = args.own_places > 0 && args.call.tokens <= kSharedFirstTokens};
  args.down_begin = args.tiling.gate_up_row_tiles * Kind::kWarpgroupsOfTile;
  args.end = args.down_begin + args.tiling.down_row_tiles * Kind::kWarpgroupsOfTile;
  return LaunchAround(args, stream, [&] {
    // No more blocks than run at once: they wait for each other's results.
    return LaunchDependent(MoeExpertsKernel<Kind, kWidths...>, MultiprocessorCount(),
                           Kind::kThreads, args.stream.bytes() + reserved, stream, args);
  });
}

cudaError_t LaunchWide(MoeKernelArgs args, cudaStream_t stream) {
  SetMoeWideTiling(&args);
  return LaunchAround(args, stream, [&] { return MoeExpertsWideBf16Sm90(args, stream); });
}

MoeKernelArgs MakeArgs(const MoeExpertsBf16Args& call) {
  MoeKernelArgs args = {};
  args.call = call;
  args.space = PlaceWorkspace(call.shape, call.workspace_tokens, call.workspace);
  return args;
}

cudaError_t LaunchBf16(const MoeExpertsBf16Args& call, cudaStream_t stream) {
  const MoeExpertsBf16Shape& shape = call.shape;
  const MoeKernelArgs args = MakeArgs(call);
  if (MoeWidePays(call)) return LaunchWide(args, stream);
  // Between one and two rounds of tiles, some blocks would have twice the work of others.
  const int tiles_max = (call.tokens * shape.active + shape.shared_experts) *
                        (2 * shape.intermediate / InTurn::kRows);
  const int blocks = MultiprocessorCount();
  if (call.tokens <= 8 && tiles_max > blocks && tiles_max < 2 * blocks)
    return Launch<Low, 8>(args, stream);
  return Launch<InTurn, 8, 16, 32, 64, 128>(args, stream);
}

cudaError_t LaunchFp8(const MoeExpertsBf16Args& call, cudaStream_t stream) {
  static_assert(HighFp8::kRows == FourFp8::kRows);
  const MoeExpertsBf16Shape& shape = call.shape;
  const MoeKernelArgs args = MakeArgs(call);
  const int places = call.tokens * shape.active;
  const int tiles = places * (2 * shape.intermediate / HighFp8::kRows);
  const bool fits =
      shape.hidden % HighFp8::kRows == 0 && 2 * shape.intermediate % HighFp8::kRows == 0;
  if (!fits || tiles < 2 * MultiprocessorCount())
    return Launch<LowFp8, 8, 16, 32, 64, 128>(args, stream);
  if (places > 32 * shape.experts) return Launch<HighFp8, 64, 96>(args, stream);
  return Launch<FourFp8, 8, 16, 32, 64>(args, stream);
}

}  // namespace

const char* MoeExpertsBf16Sm90Unsupported(const MoeExpertsBf16Shape& shape) {
  if (shape.hidden < 128 || shape.hidden % 128 != 0) return "hidden must be a multiple of 128";
  if (shape.intermediate < 64 || shape.intermediate % 64 != 0)
    return "intermediate must be a multiple of 64";
  if (shape.experts < 1 || shape.experts > kMoeExpertsMax) return "experts must be 1 to 256";
  if (shape.active < 1 || shape.active > shape.experts) return "active must be 1 to experts";
  if (shape.shared_experts < 0 || shape.shared_experts > kMoeSharedExpertsMax)
    return "shared_experts must be 0 to 8";
  return nullptr;
}

int64_t MoeExpertsBf16Sm90WorkspaceBytes(const MoeExpertsBf16Shape& shape, int tokens_max) {
  return PlaceWorkspace(shape, tokens_max, nullptr).bytes;
}

MoeResults MoeExpertsBf16Sm90Results(const MoeExpertsBf16Args& call) {
  return Results(MakeArgs(call));
}

cudaError_t MoeExpertsBf16Sm90(const MoeExpertsBf16Args& call, cudaStream_t stream) {
  const MoeExpertsBf16Shape& shape = call.shape;
  if (MoeExpertsBf16Sm90Unsupported(shape) != nullptr || call.tokens < 1)
    return cudaErrorInvalidValue;
  if (call.x_stride % 8 != 0 || call.out_stride % 8 != 0) return cudaErrorInvalidValue;
  if (call.workspace_tokens < call.tokens) return cudaErrorInvalidValue;
  return call.fp8_weights ? LaunchFp8(call, stream) : LaunchBf16(call, stream);
}

}  // namespace r1::kernels
