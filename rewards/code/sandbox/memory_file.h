// Anonymous files in memory: how texts and programs get into a job without a path.
#pragma once

#include <string>

#include "common/status.h"
#include "rewards/code/sandbox/owned_fd.h"

namespace r1::rewards::code {

// Holds `data`, offset 0, and can never change. Unavailable: out of memory or descriptors.
[[nodiscard]] absl::StatusOr<OwnedFd> MakeMemoryFile(const char* name, absl::string_view data);

// An empty one, to be written by somebody else.
[[nodiscard]] absl::StatusOr<OwnedFd> MakeEmptyMemoryFile(const char* name);

// Forbids every further change.
[[nodiscard]] absl::Status SealMemoryFile(int fd);

}  // namespace r1::rewards::code
