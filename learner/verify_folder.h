// `r1 checkpoint verify`: whether a folder's files are what they should be: each file against its
// MANIFEST when there is one, the structure of every safetensors file, and that every weight is
// finite. Changes nothing. Streams: one tensor's chunk is held besides the mapped files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"

namespace r1::learner {

struct FolderReport {
  bool has_manifest = false;
  int64_t files = 0;    // checked against MANIFEST, or safetensors files without one
  int64_t tensors = 0;  // of the model and of what training keeps
  // "<file>: what is wrong"; at most kProblemsMax, then how many more there are.
  std::vector<std::string> problems;
};

inline constexpr size_t kProblemsMax = 100;

// NotFound: no such folder. Everything that is wrong inside it is a problem of the report.
[[nodiscard]] absl::StatusOr<FolderReport> VerifyFolder(const std::string& folder);

}  // namespace r1::learner
