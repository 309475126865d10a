#include "kernels/bench/cuda_device.h"

namespace r1::kernels {

absl::Status DescribeCudaDevice(BenchOptions*) {
  return absl::FailedPreconditionError("--device cuda: this build has no CUDA kernels");
}

}  // namespace r1::kernels
