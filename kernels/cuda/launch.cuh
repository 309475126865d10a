// Kernel launches of this folder: with programmatic dependent launch, so that a kernel's start
// overlaps the end of the one before it. Every kernel launched so waits for its predecessors itself
// (sm90::WaitForPriorKernels).
#pragma once

#include <cuda_runtime.h>

#include <atomic>

#include "kernels/cuda/sm90.cuh"

namespace r1::kernels {

// Of the current device.
inline int MultiprocessorCount() {
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 1;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return 1;
  return count;
}

// Blocks of a kernel that can run at the same time, one a multiprocessor, in clusters of `cluster`.
// What runs at once may wait for each other. The answer is kept in *known, the kernel's own static:
// devices of a process are taken to be alike.
template <typename Args>
int BlocksAtOnce(void (*kernel)(Args), int threads, int shared_bytes, int cluster,
                 std::atomic<int>* known) {
  if (cluster == 1) return MultiprocessorCount();
  if (known->load() == 0) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(cluster);
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(cluster));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = 0;
    const auto* function = reinterpret_cast<const void*>(kernel);
    if (cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes) !=
            cudaSuccess ||
        cudaOccupancyMaxActiveClusters(&clusters, function, &config) != cudaSuccess ||
        clusters == 0) {
      return cluster;  // slow, but never blocked
    }
    known->store(clusters * cluster);
  }
  return known->load();
}

// Blocks come in clusters of `cluster` along x, which divides the grid.
template <typename Args>
cudaError_t LaunchDependent(void (*kernel)(Args), dim3 grid, int threads, int shared_bytes,
                            cudaStream_t stream, const Args& args, int cluster = 1) {
  if (shared_bytes > 48 << 10) {
    const cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  return cudaLaunchKernelEx(&config, kernel, args);
}

// Brings weights into L2. By all threads of a block, before it waits for its predecessors: as a
// step reads far more than L2 holds, they come from memory.
__device__ __forceinline__ void PrefetchWeights(const void* weights, int bytes) {
  constexpr int kLineBytes = 128;
  for (int offset = static_cast<int>(threadIdx.x) * kLineBytes; offset < bytes;
       offset += static_cast<int>(blockDim.x) * kLineBytes)
    sm90::PrefetchToL2(static_cast<const char*>(weights) + offset);
}

}  // namespace r1::kernels
