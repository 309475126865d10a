// What one stage takes from another: names of earlier stages, models to start from, sets and
// prompts that a rejection_sampling stage made, and settings that go with each other.
#pragma once

#include "common/config.h"
#include "common/config_files.h"
#include "common/config_problems.h"

namespace r1 {

// Adds a problem for each contradiction. Sections that already have one are left alone.
void CheckStageReferences(const LoadedConfig& loaded, const ConfigFiles& files,
                          ConfigProblems& problems);

}  // namespace r1
