#include "learner/policy/device.h"

#include <dlfcn.h>

#include "learner/policy/torch_headers.h"
// Above all project headers: see torch_headers.h.
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/headeronly/version.h>

#include "absl/strings/str_cat.h"
#include "common/device_name.h"

namespace r1::learner {
namespace {

constexpr char kLibrary[] = "libtorch_cuda.so";

// Its static initialisers register the CUDA half of every operator. Never unloaded.
absl::Status LoadCudaLibrary() {
  static const std::string error = [] {
    if (dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL) != nullptr) return std::string();
    const char* const reason = dlerror();
    return std::string(reason != nullptr ? reason : "dlopen failed");
  }();
  if (error.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "expected ", kLibrary, ", the CUDA half of LibTorch ", TORCH_VERSION, ", found: ", error,
      "; install the PyPI wheel of torch ", TORCH_VERSION,
      " with its nvidia-* wheels and put torch/lib and nvidia/*/lib on LD_LIBRARY_PATH"));
}

absl::StatusOr<std::string> FindGpu(int index) {
  R1_RETURN_IF_ERROR(LoadCudaLibrary());
  const int count = at::detail::getCUDAHooks().getNumGPUs();
  if (index < count) return absl::StrCat("cuda:", index);
  return absl::InvalidArgumentError(absl::StrCat("expected an NVIDIA GPU of index ", index,
                                                 ", found ", count,
                                                 " GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES)"));
}

}  // namespace

absl::StatusOr<std::string> ResolveDevice(const std::string& device) {
  R1_ASSIGN_OR_RETURN(const DeviceName name, ParseDeviceName(device));
  if (name.kind == DeviceName::Kind::kCpu) return std::string("cpu");
  absl::StatusOr<std::string> gpu = FindGpu(name.index);
  if (name.kind == DeviceName::Kind::kAuto && !gpu.ok()) return std::string("cpu");
  if (!gpu.ok()) return Annotate(gpu.status(), absl::StrCat("device ", device));
  return gpu;
}

}  // namespace r1::learner
