// What can be checked of a run before anything starts, beyond the config itself: names of rewards
// and tasks, the model, its tokenizer, lengths.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"
#include "common/models/model_spec.h"
#include "common/status.h"

namespace r1::cli {

// Whether the run will start, so that the model's folder must be there, or is only looked at.
enum class RunPurpose { kStart, kPlan };

// Returns the model's spec. InvalidArgument: one line a problem, with the config's file, line and
// field.
[[nodiscard]] absl::StatusOr<ModelSpec> CheckRun(const LoadedConfig& loaded, RunPurpose purpose);

// Says on stderr which files a run would still need.
void ReportMissingFiles(const std::string& command, const std::vector<std::string>& files);

}  // namespace r1::cli
