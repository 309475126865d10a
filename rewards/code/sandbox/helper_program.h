// The helper program (inside/main.cc), which this library carries.
#pragma once

#include <sys/types.h>

#include "common/status.h"
#include "rewards/code/sandbox/layers.h"

namespace r1::rewards::code {

// Starts it with `control` as its kControlFd, no other descriptors, and an empty environment.
// Unavailable when the kernel refuses.
[[nodiscard]] absl::StatusOr<pid_t> StartHelper(int control, LayerSet layers);

}  // namespace r1::rewards::code
