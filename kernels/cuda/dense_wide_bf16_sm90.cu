// Both warpgroups multiply each tile, 64 rows each.
#include "kernels/cuda/dense_tile.cuh"
#include "kernels/cuda/dense_wide.cuh"
#include "kernels/cuda/dense_wide_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

template <int kBlocks>
using Wide = TileKind<1, false, kBlocks>;
static_assert(Wide<2>::kRows == kPackedBlockRows && 2 * kPackedBlockRows == kDenseWideTileRows);

template <typename Kind, int kN>
__global__ void __launch_bounds__(kStreamThreads, 1)
    DenseWideKernel(const __grid_constant__ WideArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  Ring<Kind> ring(args.stream, SharedAddress(shared), SharedAddress(shared + args.stream.bytes()));
  if (threadIdx.x == 0) ring.InitBarriers();
  if (!args.call.next_starts_with_x) AllowDependentKernels();
  __syncthreads();
  ClusterSync();
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) {
      RequestWideWeights<Kind>(args, ring);
    } else if (threadIdx.x == 32) {
      WaitForPriorKernels();
      if (args.call.next_starts_with_x) AllowDependentKernels();
      RequestWideTokens<Kind, kN>(args, ring);
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
cudaError_t Launch(WideArgs args, cudaStream_t stream) {
  const cudaError_t error = PlaceWide<Kind, kN>(kRingBarrierBytes, &args);
  if (error != cudaSuccess) return error;
  const int shared_bytes = args.stream.bytes() + kRingBarrierBytes;
  static std::atomic<int> known_blocks{0};
  const int blocks_at_once = BlocksAtOnce(DenseWideKernel<Kind, kN>, kStreamThreads, shared_bytes,
                                          Kind::kBlocks, &known_blocks);
  const int tile_blocks = Kind::kBlocks * args.tiling.tiles(args.call.matrices);
  return LaunchDependent(DenseWideKernel<Kind, kN>,
                         tile_blocks < blocks_at_once ? tile_blocks : blocks_at_once,
                         kStreamThreads, shared_bytes, stream, args, Kind::kBlocks);
}

template <int kBlocks>
cudaError_t LaunchOfWidth(const WideArgs& args, cudaStream_t stream) {
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
  const WideArgs args = {.call = call, .tiling = tiling, .stream = {}, .x = {}};
  return tiling.blocks == 4 ? LaunchOfWidth<4>(args, stream) : LaunchOfWidth<2>(args, stream);
}

}  // namespace r1::kernels
