// Tokens are first copied into the order of their places, by two warps of each block while the
// others multiply, so that the copy engine finds those of a tile in rows that follow each other.
// Where a tile's tokens end inside a piece of eight, rows of other places come along: they only
// reach columns that nobody stores.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_experts_wide_bf16_sm90.h"
#include "kernels/cuda/tensor_map.h"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

using Wide = TileKind<1, false, 2>;
static_assert(Wide::kRows == kPackedBlockRows);
constexpr int kTileRows = 2 * Wide::kRows;  // of both blocks
// Below, memory sets the pace.
constexpr int kTokensOfExpertMin = 64;
// In eights where most tiles' tokens are once an expert has several.
constexpr int kWidths[] = {64,  96,  112, 128, 144, 160, 168, 176,
                           184, 192, 200, 208, 216, 224, 240, 256};
constexpr int kWidthMax = 256;
// Of a block's first warpgroup.
constexpr int kFirstCopyWarp = 2;
constexpr int kCopyWarps = 2;
// Parts that a token tile's copy is shared out in.
constexpr int kCopyParts = 64;

// Boxes of 128, 64, … 8 rows of one matrix.
constexpr int kBoxes = 5;
constexpr int kBoxRowsMax = kWidthMax / 2;
struct TokenMaps {
  CUtensorMap boxes[kBoxes];
};

struct WideArgs {
  MoeKernelArgs moe;
  TokenMaps tokens;  // in the order of places
  TokenMaps hidden;
};

struct Lists {
  int expert[kMoePlanEntriesMax];
  int place_begin[kMoePlanEntriesMax];
  int tile_begin[kMoePlanEntriesMax];
  uint32_t stored[2];  // tiles whose results each warpgroup has stored
};

// By one thread.
__device__ __forceinline__ void RequestWeights(const MoeKernelArgs& args, MoePlanCursor cursor,
                                               Ring<Wide> ring) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  MoeTile tile;
  while (cursor.Next(&tile)) {
    // Other token tiles of the expert come back for the same weights.
    const uint64_t policy = tile.alone ? PolicyEvictFirst() : PolicyEvictNormal();
    const int rows = tile.down ? shape.hidden : 2 * shape.intermediate;
    const int columns = tile.down ? shape.intermediate : shape.hidden;
    const int row_begin = tile.row_begin + static_cast<int>(ClusterRank()) * Wide::kRows;
    const uint8_t* source = (tile.down ? args.call.down : args.call.gate_up) +
                            tile.expert * PackedBytes(rows, columns) +
                            PackedRowOffset(row_begin, 0, columns);
    for (int block = 0; block < columns / kPackedBlockColumns; ++block) {
      ring.WaitEmpty();
      BarrierArriveExpectBytes(ring.full(), kPackedBlockBytes);
      BulkCopy(ring.weights(), source, kPackedBlockBytes, ring.full(), policy);
      source += kPackedBlockBytes;
      ring.Advance();
    }
  }
}

// By another thread.
__device__ __forceinline__ void RequestTokens(const WideArgs& args, MoePlanCursor cursor,
                                              Ring<Wide> ring) {
  const MoeKernelArgs& moe = args.moe;
  const MoeExpertsBf16Shape& shape = moe.call.shape;
  MoeTile tile;
  while (cursor.Next(&tile)) {
    const int columns = tile.down ? shape.intermediate : shape.hidden;
    // Each block requests one half for both, in eights.
    const int tokens = DivideUp(tile.tokens, 8) * 8;
    const int share = EqualShare(tokens, 2);
    const int own_begin = ClusterRank() == 0 ? 0 : share;
    const int own = ClusterRank() == 0 ? share : tokens - share;
    const TokenMaps& maps = tile.down ? args.hidden : args.tokens;
    const unsigned* const progress = &moe.space.progress[tile.token_tile];
    const unsigned ready = tile.down ? moe.down_begin : moe.gate_up_begin;
    while (LoadAcquire(progress) < ready) __nanosleep(20);
    FenceAsyncProxyAll();
    for (int column = 0; column < columns; column += kPackedBlockColumns) {
      ring.WaitEmpty();
      BarrierArriveExpectBytes(ring.full(), tokens * kPackedRowBytes);
      int row = own_begin;
#pragma unroll
      for (int i = 0; i < kBoxes; ++i) {
        const int rows = kBoxRowsMax >> i;
        if ((own & rows) == 0) continue;
        TensorCopyToCluster(ring.tokens() + row * kPackedRowBytes, &maps.boxes[i], column,
                            tile.place + row, ring.full(), 3);
        row += rows;
      }
      ring.Advance();
    }
  }
}

// Copies the tokens of all places, in their order, by kCopyWarps warps of all blocks.
__device__ __forceinline__ void CopyTokens(const MoeKernelArgs& args, const MoePlan& plan,
                                           int token_tiles) {
  constexpr int kAtOnce = 8;  // under way
  static_assert(kWidthMax <= 32 * kCopyParts, "a lane knows of at most one token of a part");
  const int lane = threadIdx.x % 32;
  const int worker = blockIdx.x * kCopyWarps + threadIdx.x / 32 - kFirstCopyWarp;
  const int workers = gridDim.x * kCopyWarps;
  const int row_pieces = args.call.shape.hidden / 8;
  int entry = 0;
  for (int part = worker; part < token_tiles * kCopyParts; part += workers) {
    const int token_tile = part / kCopyParts;
    while (plan.tile_begin[entry + 1] <= token_tile) ++entry;
    MoeTile tile;
    SetMoeTileTokens(plan.place_begin[entry + 1] - plan.place_begin[entry],
                     plan.tile_begin[entry + 1] - plan.tile_begin[entry],
                     token_tile - plan.tile_begin[entry], plan.place_begin[entry], &tile);
    const int share = DivideUp(tile.tokens, kCopyParts);
    const int begin = part % kCopyParts * share;
    const int end = begin + share < tile.tokens ? begin + share : tile.tokens;
    const int own_token =
        begin + lane < end ? args.space.place_token[tile.place + begin + lane] : 0;
    for (int row = begin; row < end; ++row) {
      const int token = __shfl_sync(~0u, own_token, row - begin);
      const auto* const source =
          reinterpret_cast<const uint4*>(args.call.x + token * args.call.x_stride);
      auto* const target = reinterpret_cast<uint4*>(
          args.space.results + int64_t{tile.place + row} * args.call.shape.hidden);
      for (int first = lane; first < row_pieces; first += 32 * kAtOnce) {
        uint4 pieces[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (first + 32 * i < row_pieces) pieces[i] = __ldg(source + first + 32 * i);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (first + 32 * i < row_pieces) target[first + 32 * i] = pieces[i];
        }
      }
    }
    FenceAsyncProxyAll();
    __syncwarp();
    if (lane == 0) CountMoeShare(args, token_tile);
  }
}

// Where a warpgroup puts 32 rows of 128 bytes together, their 16-byte pieces permuted by
// SwizzledPiece.
constexpr int kStagingRows = 32;
constexpr int kStagingBytes = kStagingRows * 128;

// Matrices i = 0 … 3 of a warp, 8x8, to the staging rows from row_of(i) on, piece piece_of(i) of
// each.
template <typename RowOf, typename PieceOf>
__device__ __forceinline__ void Stage(uint32_t staging, const uint32_t (&matrices)[4], RowOf row_of,
                                      PieceOf piece_of) {
  const int lane = threadIdx.x % 32;
  const int row = row_of(lane / 8) + lane % 8;
  StoreMatricesTransposed(staging + row * 128 + SwizzledPiece(row, piece_of(lane / 8)) * 16,
                          matrices);
}

// Calls store(row, piece, value) for all pieces that the warpgroup has staged, each by one thread.
template <typename Store>
__device__ __forceinline__ void ForStaged(uint32_t staging, int warpgroup, Store store) {
  NamedBarrierSync(1 + warpgroup, kWarpgroupThreads);
  const int thread = threadIdx.x % kWarpgroupThreads;
  const int piece = thread % 8;
  uint4 values[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = thread / 8 + i * 16;
    values[i] = LoadShared16(staging + row * 128 + SwizzledPiece(row, piece) * 16);
  }
  NamedBarrierSync(1 + warpgroup, kWarpgroupThreads);
#pragma unroll
  for (int i = 0; i < 2; ++i) store(thread / 8 + i * 16, piece, values[i]);
}

// silu(gate) * up of this warpgroup's 32 channels, rounded, to hidden[place, channel].
template <int kN>
__device__ __forceinline__ void StoreHidden(const MoeKernelArgs& args, const MoeTile& tile,
                                            int warpgroup, uint32_t staging,
                                            const float (&sums)[kN / 2]) {
  const int warp = threadIdx.x / 32 % 4;
  const int width = args.call.shape.intermediate;
  __nv_bfloat16* const target =
      args.space.hidden + int64_t{tile.place} * width + tile.row_begin / 2 + warpgroup * 32;
  // Two tokens side by side in a staging row, kStagingRows apart.
#pragma unroll
  for (int first = 0; first < kN; first += 2 * kStagingRows) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t pairs[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = first / 8 + half * 4 + i;
        if (j >= kN / 8) continue;
        const float* const sum = &sums[4 * j];
        pairs[i] = PackBf16(Silu(sum[0]) * sum[2], Silu(sum[1]) * sum[3]);
      }
      Stage(
          staging, pairs, [](int i) { return 8 * i; }, [&](int) { return half * 4 + warp; });
    }
    ForStaged(staging, warpgroup, [&](int row, int piece, uint4 value) {
      const int token = first + row + piece / 4 * kStagingRows;
      if (token < tile.tokens)
        *reinterpret_cast<uint4*>(target + int64_t{token} * width + piece % 4 * 8) = value;
    });
  }
}

// Results of this warpgroup's 64 channels, rounded, to results[place, channel].
template <int kN>
__device__ __forceinline__ void StoreResults(const MoeKernelArgs& args, const MoeTile& tile,
                                             int warpgroup, uint32_t staging,
                                             const float (&sums)[kN / 2]) {
  const int warp = threadIdx.x / 32 % 4;
  const int width = args.call.shape.hidden;
  __nv_bfloat16* const target =
      args.space.results + int64_t{tile.place} * width + tile.row_begin + warpgroup * 64;
#pragma unroll
  for (int first = 0; first < kN; first += kStagingRows) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t pairs[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = first / 8 + half * 2 + i / 2;
        if (j >= kN / 8) continue;
        const float* const sum = &sums[4 * j + i % 2 * 2];
        pairs[i] = PackBf16(sum[0], sum[1]);
      }
      Stage(
          staging, pairs, [&](int i) { return half * 16 + i / 2 * 8; },
          [&](int i) { return warp * 2 + i % 2; });
    }
    ForStaged(staging, warpgroup, [&](int row, int piece, uint4 value) {
      const int token = first + row;
      if (token < tile.tokens)
        *reinterpret_cast<uint4*>(target + int64_t{token} * width + piece * 8) = value;
    });
  }
}

// Counts the tiles that this block's warpgroups have stored, by a thread that has nothing else to
// do: it waits for what they store to arrive.
__device__ __forceinline__ void CountStored(const MoeKernelArgs& args, MoePlanCursor cursor,
                                            const uint32_t (&stored)[2]) {
  MoeTile tile;
  for (uint32_t tiles = 1; cursor.Next(&tile); ++tiles) {
    for (int warpgroup = 0; warpgroup < 2; ++warpgroup) {
      while (ReadAcquireShared(SharedAddress(&stored[warpgroup])) < tiles) __nanosleep(100);
      if (!tile.down) FenceAsyncProxyAll();
      CountMoeShare(args, tile.token_tile);
    }
  }
}

template <int kN>
__device__ __forceinline__ void MultiplyTile(const MoeKernelArgs& args, const MoeTile& tile,
                                             int warpgroup, uint32_t staging, Ring<Wide>& ring) {
  float sums[Wide::kRowTiles][kN / 2];
  const MoeExpertsBf16Shape& shape = args.call.shape;
  Multiply<Wide, kN>(ring, tile.down ? shape.intermediate : shape.hidden, warpgroup, sums);
  if (tile.down) {
    StoreResults<kN>(args, tile, warpgroup, staging, sums[0]);
  } else {
    StoreHidden<kN>(args, tile, warpgroup, staging, sums[0]);
  }
}

template <int kWidth = 0>
__device__ __forceinline__ void MultiplyTileOfWidth(const MoeKernelArgs& args, const MoeTile& tile,
                                                    int warpgroup, uint32_t staging,
                                                    Ring<Wide>& ring) {
  constexpr int kN = kWidths[kWidth];
  if constexpr (kN < kWidthMax) {
    if (tile.tokens > kN) {
      MultiplyTileOfWidth<kWidth + 1>(args, tile, warpgroup, staging, ring);
      return;
    }
  }
  MultiplyTile<kN>(args, tile, warpgroup, staging, ring);
}

__global__ void __launch_bounds__(kStreamThreads, 1)
    MoeExpertsWideKernel(const __grid_constant__ WideArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const MoeKernelArgs& moe = args.moe;
  const uint32_t staging = SharedAddress(shared + moe.stream.bytes());
  uint8_t* const barriers = shared + moe.stream.bytes() + 2 * kStagingBytes;
  Ring<Wide> ring(moe.stream, SharedAddress(shared), SharedAddress(barriers));
  auto& lists = *reinterpret_cast<Lists*>(barriers + kRingBarrierBytes);
  const MoePlan plan = {
      .expert = lists.expert, .place_begin = lists.place_begin, .tile_begin = lists.tile_begin};
  const MoeExpertsBf16Shape& shape = moe.call.shape;
  const int entries = shape.experts + shape.shared_experts;
  if (threadIdx.x < 2) lists.stored[threadIdx.x] = 0;
  if (threadIdx.x == 0) ring.InitBarriers();
  WaitForPriorKernels();
  AllowDependentKernels();
  for (int i = threadIdx.x; i <= entries; i += kStreamThreads) {
    plan.expert[i] = moe.space.plan.expert[i];
    plan.place_begin[i] = moe.space.plan.place_begin[i];
    plan.tile_begin[i] = moe.space.plan.tile_begin[i];
  }
  __syncthreads();
  ClusterSync();

  const int token_tiles = plan.tile_begin[entries];
  const MoeShared shared_experts = {.first_expert = shape.experts,
                                    .experts = shape.shared_experts,
                                    .tokens = moe.call.tokens,
                                    .first_place = moe.call.tokens * shape.active};
  MoePlanCursor cursor(plan, token_tiles, shared_experts, moe.tiling, blockIdx.x / 2,
                       gridDim.x / 2);
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<88>();
    if (threadIdx.x == 0) {
      RequestWeights(moe, cursor, ring);
    } else if (threadIdx.x == 32) {
      RequestTokens(args, cursor, ring);
    } else if (threadIdx.x >= 64) {
      CopyTokens(moe, plan, token_tiles);
      if (threadIdx.x == 96) CountStored(moe, cursor, lists.stored);
    }
    __syncwarp();
  } else {
    IncreaseRegisters<208>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    MoeTile tile;
    while (cursor.Next(&tile)) {
      tile.row_begin += static_cast<int>(ClusterRank()) * Wide::kRows;
      MultiplyTileOfWidth(moe, tile, warpgroup, staging + warpgroup * kStagingBytes, ring);
      NamedBarrierSync(1 + warpgroup, kWarpgroupThreads);
      if (threadIdx.x % kWarpgroupThreads == 0)
        CountReleaseShared(SharedAddress(&lists.stored[warpgroup]));
    }
  }
  // A block's shared memory must outlive what the other one sends there.
  ClusterSync();
}

constexpr int kReservedBytes =
    2 * kStagingBytes + kRingBarrierBytes + static_cast<int>(sizeof(Lists));

cudaError_t MakeTokenMaps(const __nv_bfloat16* matrix, int rows, int columns, TokenMaps* maps) {
  for (int i = 0; i < kBoxes; ++i) {
    const cudaError_t error =
        MakeTensorMap(matrix, rows, columns, columns, kBoxRowsMax >> i, &maps->boxes[i]);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

// Room for a tile's tokens: for most experts' under even routing in as few tiles as that takes, and
// not much more, so that shared memory holds more stages.
int TileTokens(const MoeExpertsBf16Shape& shape, int tokens) {
  constexpr double kDeviations = 1.7;
  constexpr int kTilesMax = 2;  // beyond, other numbers of tiles do no harm
  const double mean = static_cast<double>(tokens) * shape.active / shape.experts;
  const double room = mean + kDeviations * std::sqrt(mean);
  const int tiles = static_cast<int>(std::ceil(room / kWidthMax));
  if (tiles > kTilesMax) return kWidthMax;
  for (const int width : kWidths) {
    if (width * tiles >= room) return width;
  }
  return kWidthMax;
}

}  // namespace

bool MoeWidePays(const MoeExpertsBf16Args& args) {
  const MoeExpertsBf16Shape& shape = args.shape;
  return int64_t{args.tokens} * shape.active >= int64_t{kTokensOfExpertMin} * shape.experts &&
         shape.hidden % kTileRows == 0 && 2 * shape.intermediate % kTileRows == 0;
}

void SetMoeWideTiling(MoeKernelArgs* args) {
  const MoeExpertsBf16Shape& shape = args->call.shape;
  const int tile_tokens = TileTokens(shape, args->call.tokens);
  args->stream = FitStream<Wide>(tile_tokens, kReservedBytes);
  args->tiling = {.tile_rows = kTileRows,
                  .tile_tokens = tile_tokens,
                  .gate_up_row_tiles = 2 * shape.intermediate / kTileRows,
                  .down_row_tiles = shape.hidden / kTileRows};
  constexpr int kSharesOfTile = 2 * Wide::kWarpgroupsOfTile;
  args->gate_up_begin = kCopyParts;
  args->down_begin = args->gate_up_begin + args->tiling.gate_up_row_tiles * kSharesOfTile;
  args->end = args->down_begin + args->tiling.down_row_tiles * kSharesOfTile;
}

cudaError_t MoeExpertsWideBf16Sm90(const MoeKernelArgs& args, cudaStream_t stream) {
  const MoeExpertsBf16Shape& shape = args.call.shape;
  const int places = args.call.tokens * (shape.active + shape.shared_experts);
  WideArgs wide = {.moe = args, .tokens = {}, .hidden = {}};
  cudaError_t error = MakeTokenMaps(args.space.results, places, shape.hidden, &wide.tokens);
  if (error != cudaSuccess) return error;
  error = MakeTokenMaps(args.space.hidden, places, shape.intermediate, &wide.hidden);
  if (error != cudaSuccess) return error;
  // No more blocks than run at once: they wait for each other's results.
  static std::atomic<int> known_blocks{0};
  const int shared_bytes = args.stream.bytes() + kReservedBytes;
  const int blocks =
      BlocksAtOnce(MoeExpertsWideKernel, kStreamThreads, shared_bytes, 2, &known_blocks);
  return LaunchDependent(MoeExpertsWideKernel, blocks, kStreamThreads, shared_bytes, stream, wide,
                         2);
}

}  // namespace r1::kernels
