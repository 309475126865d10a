// One block a row; its warps take turns with the row's tasks: the latent with its key, the
// compressed query, four heads' rotations each.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mla_input_bf16_sm90.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/warp.cuh"

namespace r1::kernels {
namespace {

using namespace sm90;  // NOLINT: one file's worth of instructions

constexpr int kWarps = 6;
constexpr int kPiece = 8;  // channels of a thread at a time: 16 bytes
constexpr int kPiecesOfRotation = kRotaryChannels / kPiece;
constexpr int kHeadsOfWarp = 32 / kPiecesOfRotation;

__device__ __forceinline__ void Load(const __nv_bfloat16* source, float (&values)[kPiece]) {
  // Past L1, which may hold an earlier layer's numbers while this kernel runs beside another.
  const uint4 bits = __ldcg(reinterpret_cast<const uint4*>(source));
  const auto* const pairs = reinterpret_cast<const __nv_bfloat162*>(&bits);
#pragma unroll
  for (int i = 0; i < kPiece / 2; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

__device__ __forceinline__ uint4 Pack(const float (&values)[kPiece]) {
  return make_uint4(PackBf16(values[0], values[1]), PackBf16(values[2], values[3]),
                    PackBf16(values[4], values[5]), PackBf16(values[6], values[7]));
}

// values *= scale * weights.
__device__ __forceinline__ void Scale(float scale, const float* weights, float (&values)[kPiece]) {
#pragma unroll
  for (int i = 0; i < kPiece; ++i) values[i] = values[i] * scale * weights[i];
}

// Piece `piece` of the rotated channels at x.
__device__ __forceinline__ uint4 Rotate(const MlaInputBf16Args& args, const float* table_row,
                                        const __nv_bfloat16* x, int piece) {
  float own[kPiece];
  float other[kPiece];
  Load(x + piece * kPiece, own);
  if (args.interleaved) {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) other[i] = own[i ^ 1];
  } else {
    Load(x + (piece ^ kPiecesOfRotation / 2) * kPiece, other);
  }
  const float* const cosines = table_row + piece * kPiece;
  const float* const sines = cosines + kRotaryChannels;
#pragma unroll
  for (int i = 0; i < kPiece; ++i) own[i] = fmaf(other[i], sines[i], own[i] * cosines[i]);
  return Pack(own);
}

// By a warp.
__device__ void WriteLatent(const MlaInputBf16Args& args, int row, const float* table_row) {
  constexpr int kPieces = kLatentChannels / kPiece / 32;
  const int lane = threadIdx.x % 32;
  const int slot = __ldcg(args.slots + row);
  if (slot < 0) return;
  const __nv_bfloat16* const source = args.latent + row * args.latent_stride;
  uint8_t* const block = args.cache + int64_t{slot / kLatentBlockTokens} * kCacheBlockBytes;
  const int token = slot % kLatentBlockTokens;
  float values[kPieces][kPiece];
  float sum = 0;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    Load(source + (p * 32 + lane) * kPiece, values[p]);
#pragma unroll
    for (int i = 0; i < kPiece; ++i) sum = fmaf(values[p][i], values[p][i], sum);
  }
  const float scale = rsqrtf(WarpSum(sum) / kLatentChannels + args.eps);
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int channel = (p * 32 + lane) * kPiece;
    Scale(scale, args.latent_norm + channel, values[p]);
    *reinterpret_cast<uint4*>(block + CacheOffset(token, channel)) = Pack(values[p]);
  }
  if (lane < kPiecesOfRotation) {
    *reinterpret_cast<uint4*>(block + CacheOffset(token, kLatentChannels + lane * kPiece)) =
        Rotate(args, table_row, source + kLatentChannels, lane);
  }
}

// By a warp. Reads the row twice; it is in the cache.
__device__ void NormQuery(const MlaInputBf16Args& args, int row) {
  const int first = static_cast<int>(threadIdx.x % 32) * kPiece;
  const __nv_bfloat16* const source = args.query_latent + row * args.query_latent_stride;
  __nv_bfloat16* const target = args.query_normed + row * args.query_normed_stride;
  float values[kPiece];
  float sum = 0;
  for (int channel = first; channel < args.query_rank; channel += 32 * kPiece) {
    Load(source + channel, values);
#pragma unroll
    for (int i = 0; i < kPiece; ++i) sum = fmaf(values[i], values[i], sum);
  }
  const float scale = rsqrtf(WarpSum(sum) / static_cast<float>(args.query_rank) + args.eps);
  for (int channel = first; channel < args.query_rank; channel += 32 * kPiece) {
    Load(source + channel, values);
    Scale(scale, args.query_norm + channel, values);
    *reinterpret_cast<uint4*>(target + channel) = Pack(values);
  }
}

// Four heads from `first` on, by a warp.
__device__ void RotateHeads(const MlaInputBf16Args& args, int row, int first,
                            const float* table_row) {
  const int head = first + static_cast<int>(threadIdx.x % 32) / kPiecesOfRotation;
  const int piece = threadIdx.x % kPiecesOfRotation;
  if (head >= args.heads) return;
  const uint4 rotated = Rotate(
      args, table_row, args.query + row * args.query_stride + head * args.query_head_stride, piece);
  __nv_bfloat16* const target =
      args.rotated + row * args.rotated_stride + head * args.rotated_head_stride;
  *reinterpret_cast<uint4*>(target + piece * kPiece) = rotated;
}

__global__ void __launch_bounds__(kWarps * 32)
    MlaInputKernel(const __grid_constant__ MlaInputBf16Args args) {
  AllowDependentKernels();
  if (blockIdx.x == 0) {
    if (args.latent != nullptr) PrefetchWeights(args.latent_norm, kLatentChannels * 4);
    if (args.query_latent != nullptr) PrefetchWeights(args.query_norm, args.query_rank * 4);
  }
  if (!args.beside) WaitForPriorKernels();
  const int row = blockIdx.x;
  const float* const table_row =
      args.rope_table + int64_t{__ldcg(args.positions + row)} * 2 * kRotaryChannels;
  const int latent_tasks = args.latent != nullptr;
  const int norm_tasks = args.query_latent != nullptr;
  const int tasks = latent_tasks + norm_tasks + (args.heads + kHeadsOfWarp - 1) / kHeadsOfWarp;
  for (int task = threadIdx.x / 32; task < tasks; task += kWarps) {
    if (task < latent_tasks) {
      WriteLatent(args, row, table_row);
    } else if (task < latent_tasks + norm_tasks) {
      NormQuery(args, row);
    } else {
      RotateHeads(args, row, (task - latent_tasks - norm_tasks) * kHeadsOfWarp, table_row);
    }
  }
  // Whoever waits for this kernel takes the one before it for complete, too.
  if (args.beside) WaitForPriorKernels();
}

}  // namespace

cudaError_t MlaInputBf16Sm90(const MlaInputBf16Args& args, cudaStream_t stream) {
  if (args.rows < 1 || args.heads < 0 || args.query_rank % kPiece != 0)
    return cudaErrorInvalidValue;
  for (const int64_t stride :
       {args.latent_stride, args.query_latent_stride, args.query_normed_stride, args.query_stride,
        args.query_head_stride, args.rotated_stride, args.rotated_head_stride}) {
    if (stride % kPiece != 0) return cudaErrorInvalidValue;
  }
  return LaunchDependent(MlaInputKernel, args.rows, kWarps * 32, 0, stream, args);
}

}  // namespace r1::kernels
