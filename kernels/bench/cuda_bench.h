// Timing of CUDA kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

namespace r1::kernels {

// Time of one call, from graphs of `calls` calls: the median of 15 replays after 3. `call` gets 0 …
// calls - 1, so that it can take turns with its inputs and none of them stays in the cache.
double MedianMicroseconds(int calls,
                          const std::function<void(int call, cudaStream_t stream)>& call);

}  // namespace r1::kernels
