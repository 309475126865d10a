// Logits are summed in up to 8 shares of the columns, which are then added in order. With few
// tokens a cluster takes 16 of them, a block a share; the blocks exchange partial logits through
// their shared memories, and each chooses for some of the tokens, one warp a token. With many, a
// block takes 16 tokens and all shares, with the same bits.
#include <cooperative_groups.h>

#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_router_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTokens = 16;  // of a cluster: the rows of a matrix instruction
constexpr int kExpertsMax = 256;
constexpr int kActiveMax = 32;
constexpr int kSharesMax = 8;
constexpr int kClusterTokens = 512;  // from more on, a block takes all shares

// Of a token's columns; each is a multiple of 32 columns. By shape only.
int Shares(int hidden) {
  int shares = kSharesMax;
  while (hidden / 32 % shares != 0) shares /= 2;
  return shares;
}

struct KernelArgs {
  MoeRouterBf16Args call;
  int shares;
};

struct Scratch {
  float logits[kTokens][kExpertsMax];  // of this block's columns; read by the whole cluster
  float choice[kWarps][kExpertsMax];
  float score[kWarps][kExpertsMax];
  float taken[kWarps][kActiveMax];
};

// d[16, 8] += a[16, 16] * b[8, 16]^T. Lane l holds columns 2 * (l % 4), the next, and the same + 8,
// of a's rows l / 4 and l / 4 + 8 and of b's row l / 4; and columns 2 * (l % 4) and the next of d's
// rows l / 4 (d[0], d[1]) and l / 4 + 8.
__device__ __forceinline__ void MultiplyAdd(float (&d)[4], uint32_t a_low, uint32_t a_low_8,
                                            uint32_t a_high, uint32_t a_high_8, uint32_t b_low,
                                            uint32_t b_high) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a_low), "r"(a_low_8), "r"(a_high), "r"(a_high_8), "r"(b_low), "r"(b_high));
}

// Logits of `shares` shares from `share` on, for all experts and `count` tokens from `first` on; a
// warp takes 8 experts. Which columns a lane holds does not matter as long as both operands agree:
// each lane loads 8 neighbouring ones, which serve two instructions.
__device__ void SumShares(const KernelArgs& args, int first, int count, int share, int shares,
                          Scratch& scratch) {
  const MoeRouterBf16Args& call = args.call;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int row = lane / 4;
  const int columns = call.shape.hidden / args.shares;
  const int column = share * columns + lane % 4 * 8;
  // Rows without a token repeat the last one; their logits are not used.
  const int token = row < count ? row : count - 1;
  const int token_8 = row + 8 < count ? row + 8 : count - 1;
  const __nv_bfloat16* const x = call.x + (first + token) * call.x_stride + column;
  const __nv_bfloat16* const x_8 = call.x + (first + token_8) * call.x_stride + column;
  for (int expert = warp * 8; expert < call.shape.experts; expert += kWarps * 8) {
    const __nv_bfloat16* const weights =
        call.router + int64_t{expert + row} * call.shape.hidden + column;
    float totals[4] = {};
    for (int begin = 0; begin < shares * columns; begin += columns) {
      float sums[4] = {};
#pragma unroll 8
      for (int i = begin; i < begin + columns; i += 32) {
        const uint4 a = __ldg(reinterpret_cast<const uint4*>(x + i));
        const uint4 a_8 = __ldg(reinterpret_cast<const uint4*>(x_8 + i));
        const uint4 b = __ldg(reinterpret_cast<const uint4*>(weights + i));
        MultiplyAdd(sums, a.x, a_8.x, a.y, a_8.y, b.x, b.y);
        MultiplyAdd(sums, a.z, a_8.z, a.w, a_8.w, b.z, b.w);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) totals[i] += sums[i];
    }
    const int own_expert = expert + lane % 4 * 2;
    *reinterpret_cast<float2*>(&scratch.logits[row][own_expert]) =
        make_float2(totals[0], totals[1]);
    *reinterpret_cast<float2*>(&scratch.logits[row + 8][own_expert]) =
        make_float2(totals[2], totals[3]);
  }
}

// Bits of the groups to keep: those with the highest sums of their two best choices, lower number
// first among equals.
__device__ unsigned KeptGroups(const MoeRouterBf16Shape& shape, const float* choice) {
  const int lane = threadIdx.x % 32;
  const int size = shape.experts / shape.groups;
  float best = -INFINITY;
  float second = -INFINITY;
  if (lane < shape.groups) {
    for (int i = 0; i < size; ++i) {
      const float value = choice[lane * size + i];
      second = fmaxf(second, fminf(best, value));
      best = fmaxf(best, value);
    }
  }
  const float score = size > 1 ? best + second : best;
  int better = 0;
  for (int group = 0; group < shape.groups; ++group) {
    const float other = __shfl_sync(~0u, score, group);
    better += other > score || (other == score && group < lane);
  }
  return __ballot_sync(~0u, lane < shape.groups && better < shape.groups_kept);
}

// Chooses a token's experts from its logits, lane l holding experts l, l + 32, …; by one warp.
__device__ void Choose(const MoeRouterBf16Args& args, int token,
                       const float (&logits)[kExpertsMax / 32], float* choice, float* score,
                       float* taken) {
  const MoeRouterBf16Shape& shape = args.shape;
  const int lane = threadIdx.x % 32;
  const int rounds = shape.experts / 32;
  float highest = -INFINITY;
  float total = 0;
  if (shape.softmax) {
#pragma unroll
    for (int j = 0; j < kExpertsMax / 32; ++j) {
      if (j < rounds) highest = fmaxf(highest, logits[j]);
    }
    highest = WarpMax(highest);
#pragma unroll
    for (int j = 0; j < kExpertsMax / 32; ++j) {
      if (j < rounds) total += expf(logits[j] - highest);
    }
    total = WarpSum(total);
  }
#pragma unroll
  for (int j = 0; j < kExpertsMax / 32; ++j) {
    if (j >= rounds) break;
    const int expert = lane + 32 * j;
    const float own =
        shape.softmax ? expf(logits[j] - highest) / total : 1 / (1 + expf(-logits[j]));
    const float biased = args.bias == nullptr ? own : own + args.bias[expert];
    score[expert] = own;
    choice[expert] = biased == biased ? biased : -INFINITY;
  }
  __syncwarp();
  if (shape.groups > 1) {
    const unsigned kept = KeptGroups(shape, choice);
    const int size = shape.experts / shape.groups;
    __syncwarp();  // all lanes have read the choices
    for (int expert = lane; expert < shape.experts; expert += 32) {
      if ((kept >> (expert / size) & 1) == 0) choice[expert] = -INFINITY;
    }
    __syncwarp();
  }
  int before = 0;
#pragma unroll
  for (int j = 0; j < kExpertsMax / 32; ++j) {
    if (j >= rounds) break;
    const int expert = lane + 32 * j;
    const float own = choice[expert];
    int better = 0;
    for (int other = 0; other < shape.experts; other += 4) {
      const float4 values = *reinterpret_cast<const float4*>(&choice[other]);
      better += values.x > own || (values.x == own && other < expert);
      better += values.y > own || (values.y == own && other + 1 < expert);
      better += values.z > own || (values.z == own && other + 2 < expert);
      better += values.w > own || (values.w == own && other + 3 < expert);
    }
    const bool chosen = better < shape.active;
    const unsigned mask = __ballot_sync(~0u, chosen);
    const int slot = before + __popc(mask & ((1u << lane) - 1));
    if (chosen) {
      args.experts[int64_t{token} * shape.active + slot] = expert;
      taken[slot] = score[expert];
    }
    before += __popc(mask);
  }
  __syncwarp();
  float sum = 0;
  for (int slot = 0; slot < shape.active; ++slot) sum += taken[slot];
  if (lane < shape.active) {
    const float weight = shape.normalize ? taken[lane] / (sum + 1e-20f) : taken[lane];
    args.weights[int64_t{token} * shape.active + lane] = weight * shape.scaling;
  }
}

__global__ void __launch_bounds__(kThreads, 4)
    MoeRouterKernel(const __grid_constant__ KernelArgs args) {
  __shared__ __align__(16) Scratch scratch;
  const cg::cluster_group cluster = cg::this_cluster();
  const int rank = static_cast<int>(cluster.block_rank());
  const int blocks = static_cast<int>(cluster.num_blocks());
  sm90::AllowDependentKernels();
  const MoeRouterBf16Args& call = args.call;
  const int first = static_cast<int>(blockIdx.x) / blocks * kTokens;
  if (first == 0) {
    const int experts = call.shape.experts / blocks;
    PrefetchWeights(call.router + int64_t{rank} * experts * call.shape.hidden,
                    experts * call.shape.hidden * 2);
  }
  sm90::WaitForPriorKernels();
  const int count = call.tokens - first < kTokens ? call.tokens - first : kTokens;
  const int shares = args.shares / blocks;
  SumShares(args, first, count, rank * shares, shares, scratch);
  cluster.sync();

  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  for (int token = rank + warp * blocks; token < count; token += kWarps * blocks) {
    float logits[kExpertsMax / 32] = {};
#pragma unroll
    for (int j = 0; j < kExpertsMax / 32; ++j) {
      if (j * 32 >= call.shape.experts) break;
      float parts[kSharesMax];
#pragma unroll
      for (int block = 0; block < kSharesMax; ++block) {
        if (block < blocks)
          parts[block] = *cluster.map_shared_rank(&scratch.logits[token][lane + 32 * j], block);
      }
#pragma unroll
      for (int block = 0; block < kSharesMax; ++block) {
        if (block < blocks) logits[j] += parts[block];
      }
    }
    Choose(call, first + token, logits, scratch.choice[warp], scratch.score[warp],
           scratch.taken[warp]);
    __syncwarp();
  }
  cluster.sync();  // nobody leaves while others read its logits
}

}  // namespace

const char* MoeRouterBf16Sm90Unsupported(const MoeRouterBf16Shape& shape) {
  if (shape.hidden < 32 || shape.hidden % 32 != 0) return "hidden must be a multiple of 32";
  if (shape.experts < 32 || shape.experts > kExpertsMax || shape.experts % 32 != 0) {
    return "experts must be a multiple of 32, at most 256";
  }
  if (shape.active < 1 || shape.active > kActiveMax || shape.active > shape.experts) {
    return "active must be 1 to 32 and at most experts";
  }
  if (shape.groups < 1 || shape.groups > 32 || shape.experts % shape.groups != 0) {
    return "groups must be 1 to 32 and divide experts";
  }
  if (shape.groups_kept < 1 || shape.groups_kept > shape.groups) {
    return "groups_kept must be 1 to groups";
  }
  if (shape.experts / shape.groups * shape.groups_kept < shape.active) {
    return "the kept groups hold fewer than `active` experts";
  }
  return nullptr;
}

cudaError_t MoeRouterBf16Sm90(const MoeRouterBf16Args& args, cudaStream_t stream) {
  if (MoeRouterBf16Sm90Unsupported(args.shape) != nullptr) return cudaErrorInvalidValue;
  if (args.tokens < 1 || args.x_stride % 8 != 0) return cudaErrorInvalidValue;
  const KernelArgs kernel_args = {.call = args, .shares = Shares(args.shape.hidden)};
  const int cluster = args.tokens > kClusterTokens ? 1 : kernel_args.shares;
  const int grid = (args.tokens + kTokens - 1) / kTokens * cluster;
  return LaunchDependent(MoeRouterKernel, grid, kThreads, 0, stream, kernel_args, cluster);
}

}  // namespace r1::kernels
