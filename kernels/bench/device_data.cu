#include <cstdio>
#include <cstdlib>

#include "common/rng.h"
#include "kernels/bench/device_data.h"

namespace r1::kernels {
namespace {

// Box-Muller on one Philox block: four numbers a thread.
__global__ void FillNormalKernel(__nv_bfloat16* data, int64_t size, float std, uint64_t seed) {
  const int64_t block = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const auto bits =
      Philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  for (int pair = 0; pair < 2; ++pair) {
    const float uniform = (static_cast<float>(bits[2 * pair]) + 1) * 0x1p-32f;
    const float radius = std * sqrtf(-2 * logf(uniform < 1 ? uniform : 1));
    float sine, cosine;
    sincospif(static_cast<float>(bits[2 * pair + 1]) * 0x1p-31f, &sine, &cosine);
    const int64_t first = block * 4 + pair * 2;
    if (first < size) data[first] = __float2bfloat16_rn(radius * cosine);
    if (first + 1 < size) data[first + 1] = __float2bfloat16_rn(radius * sine);
  }
}

}  // namespace

void CheckCuda(cudaError_t error, const char* expression, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s: %s (%s)\n", file, line, expression, cudaGetErrorName(error),
               cudaGetErrorString(error));
  std::exit(1);
}

void FillNormal(__nv_bfloat16* data, int64_t size, float std, uint64_t seed) {
  constexpr int kThreads = 256;
  const int64_t threads = (size + 3) / 4;
  FillNormalKernel<<<static_cast<unsigned>((threads + kThreads - 1) / kThreads), kThreads>>>(
      data, size, std, seed);
  R1_CHECK_CUDA(cudaGetLastError());
}

}  // namespace r1::kernels
