#include "kernels/bench/cuda_device.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"

namespace r1::kernels {

absl::Status DescribeCudaDevice(BenchOptions* options) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, 0);
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device cuda: no usable GPU: ", cudaGetErrorString(error)));
  }
  options->device =
      absl::StrCat(properties.name, ", ", properties.multiProcessorCount, " multiprocessors");
  // Reading memory (the benchmark `read` measures it), and bf16 products on random data.
  options->bytes_per_second = 4.67e12;
  options->flops_per_second = 790e12;
  return absl::OkStatus();
}

}  // namespace r1::kernels
