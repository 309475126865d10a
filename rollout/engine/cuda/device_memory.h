// Memory, streams and errors of the GPU, owned. CUDA's errors become Status here.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1::rollout {

// OK, ResourceExhausted when the GPU has no memory left, otherwise Internal; `what` was tried.
[[nodiscard]] absl::Status CudaStatus(cudaError_t error, absl::string_view what);

#define R1_RETURN_IF_CUDA_ERROR(expression) \
  R1_RETURN_IF_ERROR(::r1::rollout::CudaStatus((expression), #expression))

struct FreeDeviceMemory {
  void operator()(uint8_t* memory) const { static_cast<void>(cudaFree(memory)); }
};
using DeviceMemory = std::unique_ptr<uint8_t, FreeDeviceMemory>;
// `purpose` is named when there is too little.
[[nodiscard]] absl::StatusOr<DeviceMemory> AllocateDevice(int64_t bytes, absl::string_view purpose);

// Host memory that the copy engine reads and writes directly.
struct FreePinnedMemory {
  void operator()(uint8_t* memory) const { static_cast<void>(cudaFreeHost(memory)); }
};
using PinnedMemory = std::unique_ptr<uint8_t, FreePinnedMemory>;
[[nodiscard]] absl::StatusOr<PinnedMemory> AllocatePinned(int64_t bytes);

struct DestroyStream {
  void operator()(cudaStream_t stream) const { static_cast<void>(cudaStreamDestroy(stream)); }
};
using Stream = std::unique_ptr<CUstream_st, DestroyStream>;
[[nodiscard]] absl::StatusOr<Stream> MakeStream();

struct DestroyEvent {
  void operator()(cudaEvent_t event) const { static_cast<void>(cudaEventDestroy(event)); }
};
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;
[[nodiscard]] absl::StatusOr<Event> MakeEvent();

struct DestroyGraph {
  void operator()(cudaGraphExec_t graph) const { static_cast<void>(cudaGraphExecDestroy(graph)); }
};
using Graph = std::unique_ptr<CUgraphExec_st, DestroyGraph>;

// Lays arrays out one after the other, each at a multiple of `alignment` bytes. Run twice: from
// null, to know the bytes, then from the memory itself.
class Placement {
 public:
  explicit Placement(uint8_t* base, int64_t alignment = 256) : base_(base), alignment_(alignment) {}

  template <class T>
  void Take(T** pointer, int64_t count) {
    *pointer = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(base_) + bytes_);
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    bytes_ += (bytes + alignment_ - 1) / alignment_ * alignment_;
  }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t* base_;
  int64_t alignment_;
  int64_t bytes_ = 0;
};

}  // namespace r1::rollout
