// Both warpgroups multiply each tile, 64 rows each.
#include "kernels/cuda/dense_tile.cuh"
#include "kernels/cuda/dense_wide.cuh"
#include "kernels/cuda/dense_wide_bf16_sm90.h"
#include "kernels/cuda/dense_wide_store.cuh"
#include "kernels/cuda/launch.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

template <int kBlocks>
using Wide = TileKind<1, false, kBlocks>;
static_assert(Wide<2>::kRows == kPackedBlockRows && 2 * kPackedBlockRows == kDenseWideTileRows);

struct KernelArgs {
  WideArgs wide;
  CUtensorMap y;  // not in parts of the columns
};

template <int kN>
constexpr int kReservedBytes = kWideStoreBytes<kN> + kRingBarrierBytes;

template <typename Kind, int kN>
__global__ void __launch_bounds__(kStreamThreads, 1)
    DenseWideKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  const DenseBf16Args& call = args.wide.call;
  const uint32_t store_memory = SharedAddress(shared + args.wide.stream.bytes());
  Ring<Kind> ring(args.wide.stream, SharedAddress(shared), store_memory + kWideStoreBytes<kN>);
  if (threadIdx.x == 0) ring.InitBarriers();
  if (!call.next_starts_with_x) AllowDependentKernels();
  __syncthreads();
  ClusterSync();
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) {
      RequestWideWeights<Kind>(args.wide, ring);
    } else if (threadIdx.x == 32) {
      WaitForPriorKernels();
      if (call.next_starts_with_x) AllowDependentKernels();
      RequestWideTokens<Kind, kN>(args.wide, ring);
    }
    __syncwarp();
  } else {
    IncreaseRegisters<232>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    const WideStore<kN> store(call, args.y, store_memory, warpgroup);
    DenseCursor<Kind::kBlocks> cursor(call, args.wide.tiling);
    DenseTile tile;
    while (cursor.Next(&tile)) {
      float sums[Kind::kRowTiles][kN / 2];
      Multiply<Kind, kN>(ring, tile.blocks * kPackedBlockColumns, warpgroup, sums);
      if (call.column_parts > 1) {
        StoreSums<Kind, kN>(call, tile, warpgroup, sums);
      } else {
        store.Store(tile, sums);
      }
    }
    store.Finish();
  }
  // A block's shared memory must outlive what the other one sends there.
  ClusterSync();
}

cudaError_t MakeMapOfY(const DenseBf16Args& call, CUtensorMap* map) {
  if (call.column_parts > 1) return cudaSuccess;
  const int columns = call.swiglu ? call.rows / 2 : call.rows;
  return MakeStoreMap(call.y, call.tokens,
                      static_cast<int>((call.matrices - 1) * call.y_matrix_stride) + columns,
                      call.y_stride, call.swiglu ? 32 : 64, map);
}

template <typename Kind, int kN>
cudaError_t Launch(KernelArgs args, cudaStream_t stream) {
  const DenseBf16Args& call = args.wide.call;
  cudaError_t error = PlaceWide<Kind, kN>(kReservedBytes<kN>, &args.wide);
  if (error == cudaSuccess) error = MakeMapOfY(call, &args.y);
  if (error != cudaSuccess) return error;
  const int shared_bytes = args.wide.stream.bytes() + kReservedBytes<kN>;
  static std::atomic<int> known_blocks{0};
  const int blocks_at_once = BlocksAtOnce(DenseWideKernel<Kind, kN>, kStreamThreads, shared_bytes,
                                          Kind::kBlocks, &known_blocks);
  const int tile_blocks = Kind::kBlocks * args.wide.tiling.tiles(call.matrices);
  return LaunchDependent(DenseWideKernel<Kind, kN>,
                         tile_blocks < blocks_at_once ? tile_blocks : blocks_at_once,
                         kStreamThreads, shared_bytes, stream, args, Kind::kBlocks);
}

template <int kBlocks>
cudaError_t LaunchOfWidth(const KernelArgs& args, cudaStream_t stream) {
  switch (args.wide.tiling.wide_width()) {
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
  const KernelArgs args = {.wide = {.call = call, .tiling = tiling, .stream = {}, .x = {}},
                           .y = {}};
  return tiling.blocks == 4 ? LaunchOfWidth<4>(args, stream) : LaunchOfWidth<2>(args, stream);
}

}  // namespace r1::kernels
