// A cluster of two blocks walks the tiles. One thread of each block requests its own rows' weights,
// which do not depend on the kernel before; another waits for that kernel and then requests half of
// the tokens for both blocks, also where there are no rows left for it. Both warpgroups multiply, 64
// rows each.
#include "kernels/cuda/dense_tile.cuh"
#include "kernels/cuda/dense_wide_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/weight_stream_sm90.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

using Kind = TileKind<1, false, 2>;
static_assert(Kind::kRows == kPackedBlockRows && 2 * Kind::kRows == kDenseWideTileRows);

struct KernelArgs {
  DenseBf16Args call;
  DenseTiling tiling;
  StreamShape stream;
  CUtensorMap x;
};

__device__ __forceinline__ void RequestWeights(const KernelArgs& args, Ring<Kind> ring) {
  const DenseBf16Args& call = args.call;
  // Tiles of other tokens come back for the same weights.
  const uint64_t policy = args.tiling.token_tiles == 1 ? PolicyEvictFirst() : PolicyEvictNormal();
  const int64_t matrix_bytes = PackedBytes(call.rows, call.columns);
  DenseCursor<Kind::kBlocks> cursor(args.call, args.tiling);
  DenseTile tile;
  while (cursor.Next(&tile)) {
    const uint8_t* source = call.weights + tile.matrix * matrix_bytes +
                            PackedRowOffset(tile.row_begin, tile.block_begin, call.columns);
    for (int block = 0; block < tile.blocks; ++block) {
      ring.WaitEmpty();
      if (tile.rows > 0) {
        // Packed rows come in whole blocks.
        BarrierArriveExpectBytes(ring.full(), kPackedBlockBytes);
        BulkCopy(ring.weights(), source, kPackedBlockBytes, ring.full(), policy);
      } else {
        BarrierArrive(ring.full());
      }
      source += kPackedBlockBytes;
      ring.Advance();
    }
  }
}

template <int kN>
__device__ __forceinline__ void RequestTokens(const KernelArgs& args, Ring<Kind> ring) {
  const int half = static_cast<int>(ClusterRank()) * kN / 2;
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
                          ring.full(), 3);
      ring.Advance();
    }
  }
}

template <int kN>
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
      RequestWeights(args, ring);
    } else if (threadIdx.x == 32) {
      WaitForPriorKernels();
      if (args.call.next_starts_with_x) AllowDependentKernels();
      RequestTokens<kN>(args, ring);
    }
    __syncwarp();
  } else {
    IncreaseRegisters<232>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    DenseCursor<Kind::kBlocks> cursor(args.call, args.tiling);
    DenseTile tile;
    while (cursor.Next(&tile)) {
      float sums[1][kN / 2];
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

template <int kN>
cudaError_t Launch(KernelArgs args, cudaStream_t stream) {
  const DenseBf16Args& call = args.call;
  const int columns =
      static_cast<int>((call.matrices - 1) * call.x_matrix_stride) + call.columns;
  const cudaError_t error =
      MakeTensorMap(call.x, call.tokens, columns, call.x_stride, kN / 2, &args.x);
  if (error != cudaSuccess) return error;
  args.stream = FitStream<Kind>(kN, kRingBarrierBytes);
  const int shared_bytes = args.stream.bytes() + kRingBarrierBytes;
  static std::atomic<int> known_blocks{0};
  const int blocks_at_once =
      BlocksAtOnce(DenseWideKernel<kN>, kStreamThreads, shared_bytes, 2, &known_blocks);
  const int tile_blocks = 2 * args.tiling.tiles(call.matrices);
  return LaunchDependent(DenseWideKernel<kN>,
                         tile_blocks < blocks_at_once ? tile_blocks : blocks_at_once,
                         kStreamThreads, shared_bytes, stream, args, 2);
}

}  // namespace

cudaError_t DenseWideBf16Sm90(const DenseBf16Args& call, const DenseTiling& tiling,
                              cudaStream_t stream) {
  const KernelArgs args = {.call = call, .tiling = tiling, .stream = {}, .x = {}};
  switch (tiling.wide_width()) {
    case 64:
      return Launch<64>(args, stream);
    case 128:
      return Launch<128>(args, stream);
    case 192:
      return Launch<192>(args, stream);
    default:
      return Launch<256>(args, stream);
  }
}

}  // namespace r1::kernels
