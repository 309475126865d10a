// A cluster walks the tiles, two blocks on a tile's rows and, in a cluster of four, two token tiles
// at a time. One thread of each block requests the block's weights, which do not depend on the
// kernel before; another waits for that kernel and then requests tokens. What two blocks need, each
// requests half of for both, also where it has no rows or tokens of its own.
#include "kernels/cuda/dense_tile.cuh"
#include "kernels/cuda/dense_wide_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/weight_stream_sm90.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

// 128 rows a block, both warpgroups on each tile.
template <int kBlocks>
using Wide = TileKind<1, false, kBlocks>;
static_assert(Wide<2>::kRows == kPackedBlockRows && 2 * kPackedBlockRows == kDenseWideTileRows);

struct KernelArgs {
  DenseBf16Args call;
  DenseTiling tiling;
  StreamShape stream;
  CUtensorMap x;
};

template <typename Kind>
__device__ __forceinline__ void RequestWeights(const KernelArgs& args, Ring<Kind> ring) {
  constexpr int kBlocks = Kind::kBlocks;
  const DenseBf16Args& call = args.call;
  // Tiles of other tokens come back for the same weights.
  const uint64_t policy = args.tiling.token_tiles == 1 ? PolicyEvictFirst() : PolicyEvictNormal();
  const int64_t matrix_bytes = PackedBytes(call.rows, call.columns);
  constexpr int kOwnBytes = kBlocks == 4 ? kPackedBlockBytes / 2 : kPackedBlockBytes;
  const auto rank = static_cast<int>(ClusterRank());
  const int own = rank / 2 * kOwnBytes;
  const auto sharers = static_cast<uint16_t>(5 << rank % 2);
  DenseCursor<Kind::kBlocks> cursor(call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    const uint8_t* source = call.weights + tile.matrix * matrix_bytes +
                            PackedRowOffset(tile.row_begin, tile.block_begin, call.columns) + own;
    for (int block = 0; block < tile.blocks; ++block) {
      ring.WaitEmpty();
      if (tile.rows > 0) {
        // Packed rows come in whole blocks.
        BarrierArriveExpectBytes(ring.full(), kPackedBlockBytes);
        if constexpr (kBlocks == 4) {
          BulkCopyToCluster(ring.weights() + own, source, kOwnBytes, ring.full(), sharers, policy);
        } else {
          BulkCopy(ring.weights(), source, kOwnBytes, ring.full(), policy);
        }
      } else {
        BarrierArrive(ring.full());
      }
      source += kPackedBlockBytes;
      ring.Advance();
    }
  }
}

template <typename Kind, int kN>
__device__ __forceinline__ void RequestTokens(const KernelArgs& args, Ring<Kind> ring) {
  const auto rank = static_cast<int>(ClusterRank());
  const int half = rank % 2 * kN / 2;
  const auto sharers = static_cast<uint16_t>(3 << rank / 2 * 2);
  DenseCursor<Kind::kBlocks> cursor(args.call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    const int first_column = tile.matrix * static_cast<int>(args.call.x_matrix_stride) +
                             tile.block_begin * kPackedBlockColumns;
    for (int block = 0; block < tile.blocks; ++block) {
      ring.WaitEmpty();
      BarrierArriveExpectBytes(ring.full(), kN * kPackedRowBytes);
      TensorCopyToCluster(ring.tokens() + half * kPackedRowBytes, &args.x,
                          first_column + block * kPackedBlockColumns, tile.token_begin + half,
                          ring.full(), sharers);
      ring.Advance();
    }
  }
}

template <typename Kind, int kN>
__global__ void __launch_bounds__(kStreamThreads, 1)
    DenseWideKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  Ring<Kind> ring(args.stream, SharedAddress(shared), SharedAddress(shared + args.stream.bytes()));
  if (threadIdx.x == 0) ring.InitBarriers();
  if (!args.call.next_starts_with_x) AllowDependentKernels();
  __syncthreads();
  ClusterSync();
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) {
      RequestWeights<Kind>(args, ring);
    } else if (threadIdx.x == 32) {
      WaitForPriorKernels();
      if (args.call.next_starts_with_x) AllowDependentKernels();
      RequestTokens<Kind, kN>(args, ring);
    }
    __syncwarp();
  } else {
    IncreaseRegisters<232>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    DenseCursor<Kind::kBlocks> cursor(args.call, args.tiling);
    DenseTile tile;
    while (cursor.Next(&tile)) {
      float sums[Kind::kRowTiles][kN / 2];
      Multiply<Kind, kN>(ring, tile.blocks * kPackedBlockColumns, warpgroup, sums);
      if (args.call.column_parts > 1) {
        StoreSums<Kind, kN>(args.call, tile, warpgroup, sums);
      } else {
        StoreTile<Kind, kN>(args.call, tile, warpgroup, sums);
      }
    }
  }
  // A block's shared memory must outlive what the other one sends there.
  ClusterSync();
}

template <typename Kind, int kN>
cudaError_t Launch(KernelArgs args, cudaStream_t stream) {
  const DenseBf16Args& call = args.call;
  const int columns = static_cast<int>((call.matrices - 1) * call.x_matrix_stride) + call.columns;
  const cudaError_t error =
      MakeTensorMap(call.x, call.tokens, columns, call.x_stride, kN / 2, &args.x);
  if (error != cudaSuccess) return error;
  args.stream = FitStream<Kind>(kN, kRingBarrierBytes);
  const int shared_bytes = args.stream.bytes() + kRingBarrierBytes;
  static std::atomic<int> known_blocks{0};
  const int blocks_at_once = BlocksAtOnce(DenseWideKernel<Kind, kN>, kStreamThreads, shared_bytes,
                                          Kind::kBlocks, &known_blocks);
  const int tile_blocks = Kind::kBlocks * args.tiling.tiles(call.matrices);
  return LaunchDependent(DenseWideKernel<Kind, kN>,
                         tile_blocks < blocks_at_once ? tile_blocks : blocks_at_once,
                         kStreamThreads, shared_bytes, stream, args, Kind::kBlocks);
}

template <int kBlocks>
cudaError_t LaunchOfWidth(const KernelArgs& args, cudaStream_t stream) {
  switch (args.tiling.wide_width()) {
    case 64:
      return Launch<Wide<kBlocks>, 64>(args, stream);
    case 128:
      return Launch<Wide<kBlocks>, 128>(args, stream);
    case 192:
      return Launch<Wide<kBlocks>, 192>(args, stream);
    default:
      return Launch<Wide<kBlocks>, 256>(args, stream);
  }
}

}  // namespace

cudaError_t DenseWideBf16Sm90(const DenseBf16Args& call, const DenseTiling& tiling,
                              cudaStream_t stream) {
  const KernelArgs args = {.call = call, .tiling = tiling, .stream = {}, .x = {}};
  return tiling.blocks == 4 ? LaunchOfWidth<4>(args, stream) : LaunchOfWidth<2>(args, stream);
}

}  // namespace r1::kernels
