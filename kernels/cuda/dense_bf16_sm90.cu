// One block a multiprocessor walks the tiles. Only the threads that gather rows of x wait for the
// kernel before: the weights stream in while that one still computes x. So that small kernels fit
// beside, blocks for few tokens take half of the registers and leave some shared memory. No two of
// these blocks fit on one multiprocessor: as blocks go wherever there is room while the kernel
// before still runs, half of the multiprocessors would get two and the others none. Many tokens
// have a kernel of their own (dense_wide_bf16_sm90.h).
#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/dense_tile.cuh"
#include "kernels/cuda/dense_tiling.h"
#include "kernels/cuda/dense_wide_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/weight_stream_sm90.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kHalfRegistersTokens = 64;  // of a tile
// Leaves some to small kernels.
constexpr int kMostSharedBytes = 200 << 10;

struct KernelArgs {
  DenseBf16Args call;
  DenseTiling tiling;
  StreamShape stream;
};

template <typename Kind, int kN, int... kLarger>
__device__ __forceinline__ void MultiplyTile(const KernelArgs& args, const DenseTile& tile,
                                             int warpgroup, Ring<Kind>& ring) {
  if constexpr (sizeof...(kLarger) > 0) {
    if (tile.tokens > kN) {
      MultiplyTile<Kind, kLarger...>(args, tile, warpgroup, ring);
      return;
    }
  }
  float sums[Kind::kRowTiles][kN / 2];
  Multiply<Kind, kN>(ring, tile.blocks * kPackedBlockColumns, warpgroup, sums);
  if (args.call.column_parts > 1) {
    StoreSums<Kind, kN>(args.call, tile, warpgroup, sums);
  } else {
    StoreTile<Kind, kN>(args.call, tile, warpgroup, sums);
  }
}

template <typename Kind>
__device__ __forceinline__ void GatherTokens(const KernelArgs& args, Ring<Kind>& ring) {
  const DenseBf16Args& call = args.call;
  const uint32_t row_pieces = static_cast<uint32_t>(call.x_stride / 8);
  DenseCursor<> cursor(args.call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    const __nv_bfloat16* const rows = call.x + tile.token_begin * call.x_stride +
                                      tile.matrix * call.x_matrix_stride +
                                      tile.block_begin * kPackedBlockColumns;
    StreamTokens(ring, rows, tile.blocks * kPackedBlockColumns, tile.tokens, threadIdx.x - 32,
                 [&](int row) { return row * row_pieces; });
  }
}

template <typename Kind>
__device__ __forceinline__ void RequestWeights(const KernelArgs& args, Ring<Kind>& ring) {
  const DenseBf16Args& call = args.call;
  // Tiles of other tokens come back for the same weights.
  const uint64_t policy = args.tiling.token_tiles == 1 ? PolicyEvictFirst() : PolicyEvictNormal();
  const int64_t matrix_bytes = PackedBytes(call.rows, call.columns);
  DenseCursor<> cursor(args.call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    StreamWeights(
        ring,
        call.weights + tile.matrix * matrix_bytes + int64_t{tile.block_begin} * kPackedBlockBytes,
        call.columns, tile.blocks, tile.row_begin, tile.row_begin + tile.rows, policy);
  }
}

template <typename Kind, bool kHalfRegisters, int... kWidths>
__global__ void __launch_bounds__(kStreamThreads, kHalfRegisters ? 2 : 1)
    DenseKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  Ring<Kind> ring(args.stream, SharedAddress(shared), SharedAddress(shared + args.stream.bytes()));
  if (threadIdx.x == 0) ring.InitBarriers();
  if (!args.call.next_starts_with_x) AllowDependentKernels();
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    if constexpr (!kHalfRegisters) DecreaseRegisters<88>();
    if (threadIdx.x == 0) {
      RequestWeights<Kind>(args, ring);
    } else if (threadIdx.x >= 32 && threadIdx.x < 32 + kGatherThreads) {
      WaitForPriorKernels();
      if (args.call.next_starts_with_x) AllowDependentKernels();
      GatherTokens<Kind>(args, ring);
    } else if (threadIdx.x == 32 + kGatherThreads) {
      DenseCursor<> cursor(args.call, args.tiling);
      DenseTile tile;
      while (cursor.Next(&tile)) PublishTokens(ring, tile.blocks * kPackedBlockColumns);
    }
    __syncwarp();
  } else {
    if constexpr (!kHalfRegisters) IncreaseRegisters<208>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    DenseCursor<> cursor(args.call, args.tiling);
    DenseTile tile;
    for (int turn = 0; cursor.Next(&tile); turn ^= 1) {
      if (Kind::kInTurn && turn != warpgroup) {
        ring.Skip(tile.blocks);
      } else {
        MultiplyTile<Kind, kWidths...>(args, tile, warpgroup, ring);
      }
    }
  }
}

template <typename Kind, bool kHalfRegisters, int... kWidths>
cudaError_t Launch(KernelArgs args, cudaStream_t stream) {
  const int memory = kHalfRegisters ? kMostSharedBytes : kSharedBytesMax;
  // A matrix instruction reads 64 rows of weights, so the last stage's may run on into what follows
  // it; those sums are not stored.
  constexpr int kOverrun = Kind::kRowTileBytes;
  const int columns_stages = args.call.columns / kPackedBlockColumns / args.call.column_parts;
  args.stream = {.stages = 0,
                 .weight_bytes = args.tiling.tile_rows * kPackedRowBytes,
                 .token_bytes = args.tiling.tile_tokens * kPackedRowBytes};
  const int fit = (memory - kRingBarrierBytes - kOverrun) /
                  (args.stream.weight_bytes + args.stream.token_bytes);
  const int useful = columns_stages * 2 < kStagesMax ? columns_stages * 2 : kStagesMax;
  args.stream.stages = fit < useful ? fit : useful;
  const int shared_bytes = args.stream.bytes() + kRingBarrierBytes + kOverrun;
  const auto kernel = DenseKernel<Kind, kHalfRegisters, kWidths...>;
  const int tiles = args.tiling.tiles(args.call.matrices);
  const int blocks = tiles < MultiprocessorCount() ? tiles : MultiprocessorCount();
  return LaunchDependent(kernel, blocks, kStreamThreads, shared_bytes, stream, args);
}

}  // namespace

int DenseBf16ColumnParts(int rows, int columns) {
  // Chains of at least 32 blocks of columns, and only where rows alone make few tiles.
  constexpr int kBlocksMin = 32;
  constexpr int kPartsMax = 4;
  const int parts = columns / kPackedBlockColumns / kBlocksMin;
  if (columns < 2 * rows || parts <= 1) return 1;
  return parts < kPartsMax ? parts : kPartsMax;
}

cudaError_t DenseBf16Sm90(const DenseBf16Args& call, cudaStream_t stream) {
  const int row_step = call.swiglu ? 16 : 8;
  if (call.tokens < 1 || call.matrices < 1 || call.rows < row_step || call.rows % row_step != 0)
    return cudaErrorInvalidValue;
  if (call.columns < 64 || call.columns % 64 != 0) return cudaErrorInvalidValue;
  if (call.x_stride % 8 != 0 || call.x_matrix_stride % 8 != 0) return cudaErrorInvalidValue;
  if (call.y_stride % 8 != 0 || call.y_matrix_stride % 8 != 0) return cudaErrorInvalidValue;
  if (call.column_parts < 1 || call.column_parts > call.columns / kPackedBlockColumns)
    return cudaErrorInvalidValue;
  if (call.column_parts > 1 && (call.matrices > 1 || call.swiglu)) return cudaErrorInvalidValue;
  const KernelArgs args = {.call = call,
                           .tiling = ChooseDenseTiling({.tokens = call.tokens,
                                                        .matrices = call.matrices,
                                                        .rows = call.rows,
                                                        .columns = call.columns,
                                                        .column_parts = call.column_parts,
                                                        .row_step = row_step,
                                                        .can_be_wide = DenseWideFits(call),
                                                        .multiprocessors = MultiprocessorCount()}),
                           .stream = {}};
  if (args.tiling.is_wide()) return DenseWideBf16Sm90(call, args.tiling, stream);
  if (args.tiling.tile_rows > 64) return Launch<TileKind<2, true, 1>, false, 128>(args, stream);
  if (args.tiling.tile_tokens > kHalfRegistersTokens)
    return Launch<TileKind<1, true, 1>, false, 128>(args, stream);
  return Launch<TileKind<1, true, 1>, true, 8, 16, 32, 64>(args, stream);
}

}  // namespace r1::kernels
