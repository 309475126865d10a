// One block a row; its warps take turns with the row's heads, two or four at a time: a thread holds
// eight neighbouring channels of a head.
#include "kernels/cuda/gqa_input.cuh"
#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kWarps = 8;

template <int kHeadDim>
__global__ void __launch_bounds__(kWarps * 32)
    GqaInputKernel(const __grid_constant__ GqaInputBf16Args args) {
  constexpr int kLanes = kGqaHeadLanes<kHeadDim>;
  constexpr int kHeadsOfWarp = 32 / kLanes;
  const int all_heads = args.heads + 2 * args.kv_heads;
  AllowDependentKernels();
  if (blockIdx.x == 0 && args.bias != nullptr) PrefetchWeights(args.bias, all_heads * kHeadDim * 4);
  WaitForPriorKernels();
  const int row = blockIdx.x;
  const int lane = threadIdx.x % 32;
  const int channel = lane % kLanes * kGqaPiece;
  const int slot = args.slots[row];
  const float* const table_row = args.rope_table + int64_t{args.positions[row]} * 2 * kHeadDim;
  for (int first = static_cast<int>(threadIdx.x / 32) * kHeadsOfWarp; first < all_heads;
       first += kWarps * kHeadsOfWarp) {
    // Lanes without a head do as the last one's: everybody takes part in the shuffles.
    const int own = first + lane / kLanes;
    const int head = own < all_heads ? own : all_heads - 1;
    const uint4 bits = MakeGqaInput<kHeadDim>(args, row, head, table_row);
    if (own >= all_heads) continue;
    if (head < args.heads) {
      const int64_t query = int64_t{row} * args.heads + head;
      *reinterpret_cast<uint4*>(args.query + query * kHeadDim + channel) = bits;
    } else if (slot >= 0) {
      const int of_keys = head - args.heads;
      *reinterpret_cast<uint4*>(GqaCachePiece<kHeadDim>(args, slot, of_keys % args.kv_heads,
                                                        of_keys >= args.kv_heads, channel)) = bits;
    }
  }
}

}  // namespace

cudaError_t GqaInputBf16Sm90(const GqaInputBf16Args& args, cudaStream_t stream) {
  if (args.rows < 1 || args.heads < 1 || args.kv_heads < 1) return cudaErrorInvalidValue;
  if (!IsGroupedHeadDim(args.head_dim) || args.input_stride % kGqaPiece != 0)
    return cudaErrorInvalidValue;
  if ((args.query_norm == nullptr) != (args.key_norm == nullptr)) return cudaErrorInvalidValue;
  return LaunchDependent(args.head_dim == 64 ? GqaInputKernel<64> : GqaInputKernel<128>, args.rows,
                         kWarps * 32, 0, stream, args);
}

}  // namespace r1::kernels
