#include "kernels/cuda/dense_wide.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sample_head_bf16_sm90.h"
#include "kernels/cuda/warp.cuh"
#include "kernels/cuda/weight_stream_sm90.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kSegmentIds = 16;  // ids that share one partial result: a warp's rows of a product
constexpr int kFinishThreads = 512;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
// Stands for minus infinity, so that differences of two of them are numbers.
constexpr float kLowest = -1e30f;

// The warpgroups take tiles in turn, which hides what follows a tile's product. From 129 rows on
// arithmetic sets the pace, and two blocks share rows of x (dense_wide.cuh).
using InTurn = TileKind<2, true, 1>;
using Wide = TileKind<2, true, 2>;

// Highest logit (in units of log2) of some ids, and the sum of 2^(logit - highest).
using Mass = float2;

struct KernelArgs {
  SampleHeadBf16Args call;
  Mass* masses;  // [M][row_masses]
  int segments;
  int row_masses;  // segments, rounded up to an even number
  StreamShape stream;
  int tile_ids;  // of the vocabulary, a multiple of 16
  int vocab_tiles;
};

// --- product: masses of every 16 ids
// ---------------------------------------------------------------------------------

struct HeadTile {
  int id_begin;
  int row_begin;
  int rows;
};

// Tiles first, first + step, …, all rows in each.
class HeadCursor {
 public:
  __device__ explicit HeadCursor(const KernelArgs& args) : args_(args), next_(blockIdx.x) {}

  __device__ bool Next(HeadTile* tile) {
    if (next_ >= args_.vocab_tiles) return false;
    *tile = {.id_begin = next_ * args_.tile_ids, .row_begin = 0, .rows = args_.call.rows};
    next_ += static_cast<int>(gridDim.x);
    return true;
  }

 private:
  const KernelArgs& args_;
  int next_;
};

// Of the two, in either order with the same bits: products are rounded before they are added, so
// that no template fuses one of them into the sum and another template the other.
__device__ __forceinline__ Mass Merge(Mass a, Mass b) {
  const float high = fmaxf(a.x, b.x);
  const float scaled_a = __fmul_rn(a.y, exp2f(a.x - high));
  const float scaled_b = __fmul_rn(b.y, exp2f(b.x - high));
  return make_float2(high, __fadd_rn(scaled_a, scaled_b));
}

// One step of a reduction over the lanes that differ in bit `distance`: with more than one mass,
// each lane keeps one half of them and gives the other half away; with one, both lanes keep the
// result.
template <int kCount>
__device__ __forceinline__ void Exchange(Mass (&masses)[kCount], int distance) {
  const bool upper = (threadIdx.x & distance) != 0;
  if constexpr (kCount == 1) {
    const Mass other = make_float2(__shfl_xor_sync(~0u, masses[0].x, distance),
                                   __shfl_xor_sync(~0u, masses[0].y, distance));
    masses[0] = Merge(masses[0], other);
  } else {
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      const Mass give = upper ? masses[i] : masses[i + kCount / 2];
      const Mass keep = upper ? masses[i + kCount / 2] : masses[i];
      const Mass other = make_float2(__shfl_xor_sync(~0u, give.x, distance),
                                     __shfl_xor_sync(~0u, give.y, distance));
      masses[i] = Merge(keep, other);
    }
  }
}

template <int kFrom>
constexpr int kHalved = kFrom > 1 ? kFrom / 2 : 1;

// Masses of this warp's 16 ids for the kChunks * 8 rows from `row` on, whose logits are `sums`,
// laid out as Wgmma says.
template <int kChunks>
__device__ __forceinline__ void StoreMasses(const KernelArgs& args, const float* scales,
                                            const float* sums, int id, int row, int row_end) {
  constexpr int kCount = 2 * kChunks;
  const int lane = threadIdx.x % 32;
  const bool first_exists = id + lane / 4 < args.call.vocab;
  const bool second_exists = id + lane / 4 + 8 < args.call.vocab;
  Mass masses[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float scale = scales[row + i / 2 * 8 + lane % 4 * 2 + i % 2];
    const float first = __fmul_rn(sums[i / 2 * 4 + i % 2], scale);
    const float second = __fmul_rn(sums[i / 2 * 4 + 2 + i % 2], scale);
    const float low = second_exists ? exp2f(-fabsf(first - second)) : 0;
    const float high = second_exists ? fmaxf(first, second) : first;
    masses[i] = first_exists ? make_float2(high, 1 + low) : make_float2(kLowest, 0);
  }
  Exchange<kCount>(masses, 16);
  auto& halves = reinterpret_cast<Mass(&)[kHalved<kCount>]>(masses);
  Exchange<kHalved<kCount>>(halves, 8);
  auto& quarters = reinterpret_cast<Mass(&)[kHalved<kHalved<kCount>>]>(masses);
  Exchange<kHalved<kHalved<kCount>>>(quarters, 4);
  // Which of the masses a lane was left with: the highest bits that were needed to tell them apart.
  constexpr int kUnusedBits = kCount == 8 ? 0 : kCount == 4 ? 1 : 2;
  const int index = (lane >> 4 & 1) * 4 + (lane >> 3 & 1) * 2 + (lane >> 2 & 1);
  const int own = index >> kUnusedBits;
  const int own_row = row + own / 2 * 8 + lane % 4 * 2 + own % 2;
  const bool writes = (index & ((1 << kUnusedBits) - 1)) == 0;
  if (writes && own_row < row_end) {
    args.masses[int64_t{own_row} * args.row_masses + id / kSegmentIds] = masses[0];
  }
}

template <typename Kind, int kN>
__device__ __forceinline__ void MultiplyTile(const KernelArgs& args, const HeadTile& tile,
                                             int warpgroup, const float* scales, Ring<Kind>& ring) {
  float sums[Kind::kRowTiles][kN / 2];
  Multiply<Kind, kN>(ring, args.call.hidden, warpgroup, sums);
  const int warp = threadIdx.x / 32 % 4;
  const int tile_end = tile.id_begin + args.tile_ids;
  const int id_end = tile_end < args.call.vocab ? tile_end : args.call.vocab;
  constexpr int kChunks = kN >= 32 ? 4 : kN / 8;
#pragma unroll
  for (int r = 0; r < Kind::kRowTiles; ++r) {
    const int id = tile.id_begin + Kind::RowTile(r, warpgroup) * 64 + warp * kSegmentIds;
    if (id >= id_end) continue;
#pragma unroll
    for (int chunk = 0; chunk < kN / 8; chunk += kChunks) {
      StoreMasses<kChunks>(args, scales, &sums[r][chunk * 4], id, tile.row_begin + chunk * 8,
                           tile.row_begin + tile.rows);
    }
  }
}

template <typename Kind, int kN, int... kLarger>
__device__ __forceinline__ void MultiplyTileOfWidth(const KernelArgs& args, const HeadTile& tile,
                                                    int warpgroup, const float* scales,
                                                    Ring<Kind>& ring) {
  if constexpr (sizeof...(kLarger) > 0) {
    if (tile.rows > kN) {
      MultiplyTileOfWidth<Kind, kLarger...>(args, tile, warpgroup, scales, ring);
      return;
    }
  }
  MultiplyTile<Kind, kN>(args, tile, warpgroup, scales, ring);
}

// log2(e) / temperature of every row, and of rows behind the last one that products are made for.
__device__ __forceinline__ void LoadScales(const SampleHeadBf16Args& call, float* scales) {
  for (int row = threadIdx.x; row < kSampleHeadRowsMax + kTileTokensMax; row += kStreamThreads) {
    const float temperature = row < call.rows ? call.temperatures[row] : 0;
    scales[row] = temperature == 0 ? kLog2E : kLog2E / temperature;
  }
}

template <int... kWidths>
__global__ void __launch_bounds__(kStreamThreads, 1)
    HeadMassesKernel(const __grid_constant__ KernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  uint8_t* const barriers = shared + args.stream.bytes();
  Ring<InTurn> ring(args.stream, SharedAddress(shared), SharedAddress(barriers));
  float* const scales = reinterpret_cast<float*>(barriers + kRingBarrierBytes);
  if (threadIdx.x == 0) ring.InitBarriers();
  WaitForPriorKernels();
  AllowDependentKernels();
  LoadScales(args.call, scales);
  __syncthreads();
  HeadCursor cursor(args);
  HeadTile tile;
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<88>();
    if (threadIdx.x == 0) {
      const uint64_t policy = PolicyEvictFirst();
      const int vocab_end = (args.call.vocab + 7) / 8 * 8;
      while (cursor.Next(&tile)) {
        const int end = tile.id_begin + args.tile_ids;
        StreamWeights(ring, args.call.head, args.call.hidden,
                      args.call.hidden / kPackedBlockColumns, tile.id_begin,
                      end < vocab_end ? end : vocab_end, policy);
      }
    } else if (threadIdx.x == 32 + kGatherThreads) {
      while (cursor.Next(&tile)) PublishTokens(ring, args.call.hidden);
    } else if (threadIdx.x >= 32 && threadIdx.x < 32 + kGatherThreads) {
      const uint32_t row_pieces = static_cast<uint32_t>(args.call.x_stride / 8);
      while (cursor.Next(&tile)) {
        StreamTokens(ring, args.call.x, args.call.hidden, tile.rows, threadIdx.x - 32,
                     [&](int row) { return row * row_pieces; });
      }
    }
    __syncwarp();
  } else {
    IncreaseRegisters<208>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    for (int turn = 0; cursor.Next(&tile); turn ^= 1) {
      if (turn != warpgroup) {
        ring.Skip(args.call.hidden / kPackedBlockColumns);
      } else {
        MultiplyTileOfWidth<InTurn, kWidths...>(args, tile, warpgroup, scales, ring);
      }
    }
  }
}

struct WideKernelArgs {
  KernelArgs head;
  WideArgs wide;
};

__global__ void __launch_bounds__(kStreamThreads, 1)
    HeadMassesWideKernel(const __grid_constant__ WideKernelArgs args) {
  extern __shared__ __align__(1024) uint8_t shared[];
  uint8_t* const barriers = shared + args.wide.stream.bytes();
  Ring<Wide> ring(args.wide.stream, SharedAddress(shared), SharedAddress(barriers));
  float* const scales = reinterpret_cast<float*>(barriers + kRingBarrierBytes);
  if (threadIdx.x == 0) ring.InitBarriers();
  WaitForPriorKernels();
  AllowDependentKernels();
  LoadScales(args.head.call, scales);
  __syncthreads();
  ClusterSync();
  if (threadIdx.x < kWarpgroupThreads) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) {
      RequestWideWeights<Wide>(args.wide, ring);
    } else if (threadIdx.x == 32) {
      RequestWideTokens<Wide, kTileTokensMax>(args.wide, ring);
    }
    __syncwarp();
  } else {
    IncreaseRegisters<232>();
    const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
    DenseCursor<Wide::kBlocks> cursor(args.wide.call, args.wide.tiling);
    DenseTile tile;
    for (int turn = 0; cursor.Next(&tile); turn ^= 1) {
      if (turn != warpgroup) {
        ring.Skip(tile.blocks);
      } else {
        const HeadTile own = {
            .id_begin = tile.row_begin, .row_begin = tile.token_begin, .rows = tile.tokens};
        MultiplyTile<Wide, kTileTokensMax>(args.head, own, warpgroup, scales, ring);
      }
    }
  }
  // A block's shared memory must outlive what the other one sends there.
  ClusterSync();
}

// --- finish: one block a row
// -----------------------------------------------------------------------------------------

// Sums of the values of all threads before this one, and with it: a thread's `after` has the bits
// of the next one's `before`, so that exactly one thread holds a number below `total`.
struct Prefix {
  double before;
  double after;
  double total;
};

// `scratch` holds a value a warp.
__device__ Prefix BlockPrefix(double value, double* scratch) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  double sum = value;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const double below = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += below;
  }
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  double before = 0;
  double all = 0;
  for (int w = 0; w < kFinishThreads / 32; ++w) {
    if (w == warp) before = all;
    all += scratch[w];
  }
  const double left = __shfl_up_sync(~0u, sum, 1);
  return {.before = before + (lane == 0 ? 0 : left), .after = before + sum, .total = all};
}

__device__ float BlockMax(float value, float* scratch) {
  value = WarpMax(value);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  for (int w = 0; w < kFinishThreads / 32; ++w) value = fmaxf(value, scratch[w]);
  return value;
}

// The logits of a segment's ids for a row, each by a warp; to shared memory.
__device__ void SegmentLogits(const SampleHeadBf16Args& args, int row, int segment, float* logits) {
  static_assert(kFinishThreads / 32 == kSegmentIds);
  const int id = segment * kSegmentIds + threadIdx.x / 32;
  float sum = 0;
  if (id < args.vocab) {
    const auto* const x = reinterpret_cast<const uint4*>(args.x + row * args.x_stride);
#pragma unroll 8
    for (int piece = threadIdx.x % 32; piece < args.hidden / 8; piece += 32) {
      const uint4 weights = __ldg(
          reinterpret_cast<const uint4*>(args.head + PackedOffset(id, piece * 8, args.hidden)));
      const uint4 values = __ldg(x + piece);
      const auto* weight_pairs = reinterpret_cast<const __nv_bfloat162*>(&weights);
      const auto* value_pairs = reinterpret_cast<const __nv_bfloat162*>(&values);
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float2 weight = __bfloat1622float2(weight_pairs[c]);
        const float2 value = __bfloat1622float2(value_pairs[c]);
        sum = fmaf(weight.y, value.y, fmaf(weight.x, value.x, sum));
      }
    }
  }
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) logits[threadIdx.x / 32] = sum;
}

// Which lane's share of the masses a target falls into, the lanes' masses being in order. The last
// lane with mass, should rounding leave the target behind the sum; 0 when none has any. By a warp.
__device__ int LaneAtTarget(double mass, double target) {
  const int lane = threadIdx.x % 32;
  double sum = mass;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const double below = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += below;
  }
  const unsigned beyond = __ballot_sync(~0u, sum > target && mass > 0);
  const unsigned with_mass = __ballot_sync(~0u, mass > 0);
  return beyond != 0 ? __ffs(beyond) - 1 : with_mass != 0 ? 31 - __clz(with_mass) : 0;
}

// The lane with the highest value, the lowest among equals. By a warp.
__device__ int LaneOfHighest(float value) {
  const unsigned equal = __ballot_sync(~0u, value == WarpMax(value));
  return equal != 0 ? __ffs(equal) - 1 : 0;
}

// Each thread has 2 * kPairs neighbouring segments, in vocabulary order.
template <int kPairs>
__global__ void __launch_bounds__(kFinishThreads, kPairs <= 7 ? 2 : 1)
    FinishRowKernel(const __grid_constant__ KernelArgs args) {
  __shared__ float warp_max[kFinishThreads / 32];
  __shared__ double warp_sum[kFinishThreads / 32];
  __shared__ float logits[kSegmentIds];
  __shared__ double uniform;
  __shared__ double fraction;  // of the chosen segment's mass that lies below the target
  __shared__ int chosen_segment;
  AllowDependentKernels();
  WaitForPriorKernels();
  const int row = blockIdx.x;
  const int begin = static_cast<int>(threadIdx.x) * 2 * kPairs;
  const SampleHeadBf16Args& call = args.call;
  const auto* const pairs =
      reinterpret_cast<const float4*>(args.masses + int64_t{row} * args.row_masses + begin);
  Mass masses[2 * kPairs];
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    const float4 pair =
        begin + 2 * p < args.segments ? pairs[p] : make_float4(kLowest, 0, kLowest, 0);
    masses[2 * p] = make_float2(pair.x, pair.y);
    masses[2 * p + 1] =
        begin + 2 * p + 1 < args.segments ? make_float2(pair.z, pair.w) : make_float2(kLowest, 0);
  }
  const float temperature = call.temperatures[row];
  const bool greedy = temperature == 0;
  const float scale = greedy ? kLog2E : kLog2E / temperature;
  if (threadIdx.x == kFinishThreads - 1) {
    // Below one by more than rounding, so that the target lies below the total.
    uniform = fmin(call.rngs[row].UniformAt(call.positions[row]), 1 - 0x1p-50);
    chosen_segment = args.segments;
    fraction = 0;
  }
  float own_highest = kLowest;
#pragma unroll
  for (int i = 0; i < 2 * kPairs; ++i) own_highest = fmaxf(own_highest, masses[i].x);
  const float highest = BlockMax(own_highest, warp_max);
  double own_sum = 0;
#pragma unroll
  for (int i = 0; i < 2 * kPairs; ++i) {
    if (greedy && masses[i].x == highest) atomicMin(&chosen_segment, begin + i);
    masses[i].y *= exp2f(masses[i].x - highest);
    own_sum += masses[i].y;
  }
  const Prefix prefix = BlockPrefix(own_sum, warp_sum);
  const double target = uniform * prefix.total;
  if (!greedy && prefix.before <= target && target < prefix.after) {
    // The first segment whose end lies beyond the target; the last with mass, should rounding leave
    // the target behind.
    double sum = prefix.before;
    int segment = args.segments;
    double below = 0;
    double mass = 1;
#pragma unroll
    for (int i = 0; i < 2 * kPairs; ++i) {
      if (sum <= target && masses[i].y > 0) {
        segment = begin + i;
        below = target - sum;
        mass = masses[i].y;
      }
      sum += masses[i].y;
    }
    chosen_segment = segment;
    fraction = below / mass;
  }
  __syncthreads();
  // Not below only when no numbers could be compared: a logit is not a number, and the logprob will
  // say so.
  const int segment = chosen_segment < args.segments ? chosen_segment : 0;
  SegmentLogits(call, row, segment, logits);
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const int lane = threadIdx.x;
  const bool exists = lane < kSegmentIds && segment * kSegmentIds + lane < call.vocab;
  const float logit = exists ? logits[lane] : kLowest;
  const float mass = exists ? exp2f(logit * scale - highest) : 0;
  const int chosen =
      greedy ? LaneOfHighest(logit) : LaneAtTarget(mass, fraction * WarpSum<double>(mass));
  if (lane == chosen) {
    call.tokens[row] = segment * kSegmentIds + chosen;
    call.logprobs[row] = (logit * scale - highest - log2f(static_cast<float>(prefix.total))) * kLn2;
  }
}

constexpr int kReservedBytes =
    kRingBarrierBytes + (kSampleHeadRowsMax + kTileTokensMax) * static_cast<int>(sizeof(float));

template <int... kWidths>
cudaError_t LaunchMasses(KernelArgs args, cudaStream_t stream) {
  const SampleHeadBf16Args& call = args.call;
  args.stream = FitStream<InTurn>(call.rows, kReservedBytes);
  const int blocks = MultiprocessorCount();
  // Memory sets the pace: equal shares of the vocabulary for all blocks, in as few rounds as full
  // tiles allow.
  const int rounds = DivideUp(call.vocab, InTurn::kRows * blocks);
  args.tile_ids = DivideUp(DivideUp(call.vocab, rounds * blocks), kSegmentIds) * kSegmentIds;
  args.vocab_tiles = DivideUp(call.vocab, args.tile_ids);
  return LaunchDependent(HeadMassesKernel<kWidths...>, blocks, kStreamThreads,
                         args.stream.bytes() + kReservedBytes, stream, args);
}

cudaError_t LaunchMassesWide(const KernelArgs& head, cudaStream_t stream) {
  const SampleHeadBf16Args& call = head.call;
  const int token_tiles = DivideUp(call.rows, kTileTokensMax);
  WideKernelArgs args = {
      .head = head,
      .wide = {.call = {.tokens = call.rows,
                        .rows = call.vocab,
                        .columns = call.hidden,
                        .x = call.x,
                        .x_stride = call.x_stride,
                        .weights = call.head},
               .tiling = {.tile_rows = kDenseWideTileRows,
                          .tile_tokens = DivideUp(DivideUp(call.rows, token_tiles), 8) * 8,
                          .row_tiles = DivideUp(call.vocab, kDenseWideTileRows),
                          .token_tiles = token_tiles,
                          .column_parts = 1,
                          .blocks = Wide::kBlocks},
               .stream = {},
               .x = {}}};
  args.head.tile_ids = Wide::kRows;
  const cudaError_t error = PlaceWide<Wide, kTileTokensMax>(kReservedBytes, &args.wide);
  if (error != cudaSuccess) return error;
  static std::atomic<int> known_blocks = 0;
  const int shared_bytes = args.wide.stream.bytes() + kReservedBytes;
  const int blocks = BlocksAtOnce(HeadMassesWideKernel, kStreamThreads, shared_bytes, Wide::kBlocks,
                                  &known_blocks);
  return LaunchDependent(HeadMassesWideKernel, blocks, kStreamThreads, shared_bytes, stream, args,
                         Wide::kBlocks);
}

template <int kPairs, int... kMore>
cudaError_t LaunchFinish(const KernelArgs& args, cudaStream_t stream) {
  if constexpr (sizeof...(kMore) > 0) {
    if (args.segments > 2 * kPairs * kFinishThreads) return LaunchFinish<kMore...>(args, stream);
  } else {
    static_assert(2 * kPairs * kFinishThreads * kSegmentIds >= kSampleHeadVocabMax);
  }
  return LaunchDependent(FinishRowKernel<kPairs>, args.call.rows, kFinishThreads, 0, stream, args);
}

int RowMasses(int vocab) { return DivideUp(vocab, 2 * kSegmentIds) * 2; }

}  // namespace

int64_t SampleHeadBf16Sm90WorkspaceBytes(int vocab, int rows_max) {
  return int64_t{rows_max} * RowMasses(vocab) * static_cast<int64_t>(sizeof(Mass));
}

cudaError_t SampleHeadBf16Sm90(const SampleHeadBf16Args& call, cudaStream_t stream) {
  if (call.rows < 1 || call.rows > kSampleHeadRowsMax) return cudaErrorInvalidValue;
  if (call.vocab < 1 || call.vocab > kSampleHeadVocabMax) return cudaErrorInvalidValue;
  if (call.hidden < 128 || call.hidden % 128 != 0 || call.x_stride % 8 != 0)
    return cudaErrorInvalidValue;
  const KernelArgs args = {.call = call,
                           .masses = static_cast<Mass*>(call.workspace),
                           .segments = DivideUp(call.vocab, kSegmentIds),
                           .row_masses = RowMasses(call.vocab),
                           .stream = {},
                           .tile_ids = 0,
                           .vocab_tiles = 0};
  const cudaError_t error = call.rows <= kTileTokensMax
                                ? LaunchMasses<8, 16, 32, 64, 96, 128>(args, stream)
                                : LaunchMassesWide(args, stream);
  if (error != cudaSuccess) return error;
  return LaunchFinish<1, 2, 4, 7, 10, 16>(args, stream);
}

}  // namespace r1::kernels
