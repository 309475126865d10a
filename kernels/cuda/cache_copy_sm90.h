// Copies whole blocks of the paged cache, in all layers at once: copy on write of forked sequences.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace r1::kernels {

struct CacheBlockCopy {
  int32_t source;
  int32_t target;
};

struct CacheCopyArgs {
  uint8_t* cache = nullptr;  // [layers][blocks]
  int64_t layer_bytes = 0;   // from a layer to the next; a multiple of 16
  int block_bytes = 0;       // a multiple of 16
  int layers = 0;
  const CacheBlockCopy* copies = nullptr;  // [count]; no target is another copy's source or target
  int count = 0;
};

[[nodiscard]] cudaError_t CacheCopySm90(const CacheCopyArgs& args, cudaStream_t stream);

}  // namespace r1::kernels
