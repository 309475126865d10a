#include <cuda_fp8.h>

#include "kernels/bench/device_data.h"
#include "tests/gpu/naive_cuda.h"

namespace r1::kernels {
namespace {

constexpr int kThreads = 256;

__device__ double WarpSum(double value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

template <typename T>
__device__ double Dot(const T* a, const __nv_bfloat16* b, int size) {
  double sum = 0;
  for (int i = threadIdx.x % 32; i < size; i += 32) {
    sum += static_cast<double>(a[i]) * static_cast<double>(__bfloat162float(b[i]));
  }
  return WarpSum(sum);
}

__device__ double DotBf16(const __nv_bfloat16* a, const __nv_bfloat16* b, int size) {
  double sum = 0;
  for (int i = threadIdx.x % 32; i < size; i += 32) {
    sum += static_cast<double>(__bfloat162float(a[i]) * __bfloat162float(b[i]));  // exact in fp32
  }
  return WarpSum(sum);
}

__global__ void MatmulKernel(const __nv_bfloat16* x, const __nv_bfloat16* w, int m, int n, int k,
                             double* out) {
  const int64_t warp = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (warp >= int64_t{m} * n) return;
  const double sum = DotBf16(x + warp / n * k, w + warp % n * k, k);
  if (threadIdx.x % 32 == 0) out[warp] = sum;
}

__device__ int ExpertOf(const MoeExpertsBf16Args& args, int token, int slot) {
  const int active = args.shape.active;
  return slot < active ? args.experts[token * active + slot] : args.shape.experts + slot - active;
}

// hidden[t, slot, i]
__global__ void HiddenKernel(MoeExpertsBf16Args args, NaiveExpertWeights weights, double* hidden) {
  const int slots = args.shape.active + args.shape.shared_experts;
  const int width = args.shape.intermediate;
  const int64_t warp = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (warp >= int64_t{args.tokens} * slots * width) return;
  const int token = static_cast<int>(warp / width / slots);
  const int64_t row =
      int64_t{ExpertOf(args, token, static_cast<int>(warp / width % slots))} * width + warp % width;
  const __nv_bfloat16* x = args.x + token * args.x_stride;
  const double gate = DotBf16(x, weights.gate + row * args.shape.hidden, args.shape.hidden);
  const double up = DotBf16(x, weights.up + row * args.shape.hidden, args.shape.hidden);
  if (threadIdx.x % 32 == 0) hidden[warp] = gate / (1 + exp(-gate)) * up;
}

__global__ void OutKernel(MoeExpertsBf16Args args, NaiveExpertWeights weights, const double* hidden,
                          double* out) {
  const int slots = args.shape.active + args.shape.shared_experts;
  const int width = args.shape.intermediate;
  const int64_t warp = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (warp >= int64_t{args.tokens} * args.shape.hidden) return;
  const int token = static_cast<int>(warp / args.shape.hidden);
  double sum = 0;
  for (int slot = 0; slot < slots; ++slot) {
    const int64_t row =
        int64_t{ExpertOf(args, token, slot)} * args.shape.hidden + warp % args.shape.hidden;
    const double weight =
        slot < args.shape.active ? args.weights[token * args.shape.active + slot] : 1;
    sum += weight *
           Dot(hidden + (int64_t{token} * slots + slot) * width, weights.down + row * width, width);
  }
  if (threadIdx.x % 32 == 0) out[warp] = sum;
}

// A thread an element.
__global__ void UnpackFp8Kernel(const uint8_t* packed, int matrices, int rows, int columns,
                                PackedRows packed_rows, __nv_bfloat16* weights) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t matrix = i / columns / rows;
  if (matrix >= matrices) return;
  const int row = PackedRow(packed_rows, static_cast<int>(i / columns % rows));
  const int column = static_cast<int>(i % columns);
  const int all_rows = packed_rows == PackedRows::kAll ? rows : 2 * rows;
  const uint8_t* const tile = packed + matrix * Fp8PackedBytes(all_rows, columns) +
                              Fp8TileOffset(row, column / kFp8TileColumns, columns);
  __nv_fp8_e4m3 number;
  number.__x = tile[Fp8OffsetInTile(row % kFp8TileRows, column % kFp8TileColumns)];
  const auto* const scales = reinterpret_cast<const __nv_bfloat16*>(tile + kFp8TileWeights);
  const float scale = ldexpf(__bfloat162float(scales[row % 16 / 8]), -kFp8ExponentShift);
  weights[i] = __float2bfloat16_rn(static_cast<float>(number) * scale);
}

constexpr int kContextMax = 16384;

// A block a (sequence, head).
__global__ void MlaKernel(MlaDecodeBf16Args args, const __nv_bfloat16* rows, double* scores,
                          double* out) {
  __shared__ double reduced;
  const int sequence = blockIdx.x / args.heads;
  const int context = args.contexts[sequence];
  const int32_t* table = args.block_tables + int64_t{sequence} * args.table_stride;
  const __nv_bfloat16* q = args.q + int64_t{blockIdx.x} * kCacheChannels;
  double* own_scores = scores + int64_t{blockIdx.x} * kContextMax;
  auto row_of = [&](int token) {
    return rows + (int64_t{table[token / kLatentBlockTokens]} * kLatentBlockTokens +
                   token % kLatentBlockTokens) *
                      kCacheChannels;
  };
  for (int token = threadIdx.x / 32; token < context; token += kThreads / 32) {
    const double score = DotBf16(q, row_of(token), kCacheChannels) * args.scale;
    if (threadIdx.x % 32 == 0) own_scores[token] = score;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double highest = own_scores[0];
    for (int token = 1; token < context; ++token) highest = fmax(highest, own_scores[token]);
    reduced = highest;
  }
  __syncthreads();
  for (int token = threadIdx.x; token < context; token += kThreads)
    own_scores[token] = exp(own_scores[token] - reduced);
  __syncthreads();
  if (threadIdx.x == 0) {
    reduced = 0;
    for (int token = 0; token < context; ++token) reduced += own_scores[token];
  }
  __syncthreads();
  for (int channel = threadIdx.x; channel < kLatentChannels; channel += kThreads) {
    double sum = 0;
    for (int token = 0; token < context; ++token) {
      sum += own_scores[token] * static_cast<double>(__bfloat162float(row_of(token)[channel]));
    }
    out[int64_t{blockIdx.x} * kLatentChannels + channel] = sum / reduced;
  }
}

__global__ void PackCacheKernel(const __nv_bfloat16* rows, int64_t elements, uint8_t* packed) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= elements) return;
  const int64_t row = i / kCacheChannels;
  uint8_t* block = packed + row / kLatentBlockTokens * kCacheBlockBytes;
  const int offset =
      CacheOffset(static_cast<int>(row % kLatentBlockTokens), static_cast<int>(i % kCacheChannels));
  *reinterpret_cast<__nv_bfloat16*>(block + offset) = rows[i];
}

unsigned BlocksFor(int64_t warps) {
  return static_cast<unsigned>((warps * 32 + kThreads - 1) / kThreads);
}

}  // namespace

void NaiveMatmul(const __nv_bfloat16* x, const __nv_bfloat16* w, int m, int n, int k, double* out) {
  MatmulKernel<<<BlocksFor(int64_t{m} * n), kThreads>>>(x, w, m, n, k, out);
  R1_CHECK_CUDA(cudaGetLastError());
}

void NaiveMoeExperts(const MoeExpertsBf16Args& args, const NaiveExpertWeights& weights,
                     double* out) {
  const int64_t places = int64_t{args.tokens} * (args.shape.active + args.shape.shared_experts);
  DeviceBuffer<double> hidden(places * args.shape.intermediate);
  HiddenKernel<<<BlocksFor(hidden.size()), kThreads>>>(args, weights, hidden.data());
  R1_CHECK_CUDA(cudaGetLastError());
  OutKernel<<<BlocksFor(int64_t{args.tokens} * args.shape.hidden), kThreads>>>(args, weights,
                                                                               hidden.data(), out);
  R1_CHECK_CUDA(cudaGetLastError());
  R1_CHECK_CUDA(cudaDeviceSynchronize());
}

void NaiveUnpackFp8(const uint8_t* packed, int matrices, int rows, int columns,
                    PackedRows packed_rows, __nv_bfloat16* weights) {
  const int64_t elements = int64_t{matrices} * rows * columns;
  UnpackFp8Kernel<<<BlocksFor(elements / 32 + 1), kThreads>>>(packed, matrices, rows, columns,
                                                              packed_rows, weights);
  R1_CHECK_CUDA(cudaGetLastError());
}

void NaiveMlaDecode(const MlaDecodeBf16Args& args, const __nv_bfloat16* rows, double* out) {
  DeviceBuffer<double> scores(int64_t{args.sequences} * args.heads * kContextMax);
  MlaKernel<<<args.sequences * args.heads, kThreads>>>(args, rows, scores.data(), out);
  R1_CHECK_CUDA(cudaGetLastError());
  R1_CHECK_CUDA(cudaDeviceSynchronize());
}

void PackCache(const __nv_bfloat16* rows, int blocks, uint8_t* packed) {
  const int64_t elements = int64_t{blocks} * kLatentBlockTokens * kCacheChannels;
  PackCacheKernel<<<static_cast<unsigned>((elements + kThreads - 1) / kThreads), kThreads>>>(
      rows, elements, packed);
  R1_CHECK_CUDA(cudaGetLastError());
}

}  // namespace r1::kernels
