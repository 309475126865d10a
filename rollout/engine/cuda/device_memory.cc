#include "rollout/engine/cuda/device_memory.h"

#include "absl/strings/str_cat.h"

namespace r1::rollout {

absl::Status CudaStatus(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  static_cast<void>(cudaGetLastError());  // not to be found again by the next call
  const std::string message = absl::StrCat("GPU: ", what, ": ", cudaGetErrorString(error), " (",
                                           cudaGetErrorName(error), ")");
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

absl::StatusOr<DeviceMemory> AllocateDevice(int64_t bytes, absl::string_view purpose) {
  void* memory = nullptr;
  R1_RETURN_IF_ERROR(CudaStatus(cudaMalloc(&memory, static_cast<size_t>(bytes)),
                                absl::StrCat("allocating ", bytes >> 20, " MiB for ", purpose)));
  return DeviceMemory(static_cast<uint8_t*>(memory));
}

absl::StatusOr<PinnedMemory> AllocatePinned(int64_t bytes) {
  void* memory = nullptr;
  R1_RETURN_IF_ERROR(
      CudaStatus(cudaMallocHost(&memory, static_cast<size_t>(bytes)),
                 absl::StrCat("allocating ", bytes >> 20, " MiB of pinned host memory")));
  return PinnedMemory(static_cast<uint8_t*>(memory));
}

absl::StatusOr<Stream> MakeStream() {
  cudaStream_t stream = nullptr;
  R1_RETURN_IF_CUDA_ERROR(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

absl::StatusOr<Event> MakeEvent() {
  cudaEvent_t event = nullptr;
  R1_RETURN_IF_CUDA_ERROR(cudaEventCreate(&event));
  return Event(event);
}

}  // namespace r1::rollout
