// Rows of tokens out of the paged latent cache, as a matrix that products and the copy engine read:
// the latents of whole contexts, to be multiplied out to keys and values.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/latent_cache_layout.h"

namespace r1::kernels {

// The first tokens of a block of the cache.
struct CachedTokens {
  int32_t block;
  int32_t tokens;     // 1 to kLatentBlockTokens
  int32_t first_row;  // of the matrix
};

struct LatentGatherBf16Args {
  const uint8_t* cache = nullptr;        // blocks of kCacheBlockBytes
  const CachedTokens* pieces = nullptr;  // [count], on the GPU
  int count = 0;
  __nv_bfloat16* rows = nullptr;  // [rows, kCacheChannels]: latent channels, then rotary ones
};

[[nodiscard]] cudaError_t LatentGatherBf16Sm90(const LatentGatherBf16Args& args,
                                               cudaStream_t stream);

}  // namespace r1::kernels
