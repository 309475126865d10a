// The name of a device to compute on, as configs and command lines have it.
#pragma once

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

struct DeviceName {
  enum class Kind { kCpu, kCuda, kAuto };
  Kind kind = Kind::kCpu;
  int index = 0;  // of the GPU
};

// "cpu", "cuda", "cuda:N" with N from 0 to 63, or "auto", which is the first GPU where there is
// one. InvalidArgument.
[[nodiscard]] absl::StatusOr<DeviceName> ParseDeviceName(absl::string_view text);

}  // namespace r1
