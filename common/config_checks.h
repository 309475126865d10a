// Contradictions between fields of a config whose fields are each right, and files that it names.
// config.cc calls this last, when everything else was found to be in order.
#pragma once

#include "common/config.h"
#include "common/config_files.h"
#include "common/config_problems.h"

namespace r1 {

void CheckConfig(const LoadedConfig& loaded, const ConfigFiles& files, ConfigProblems& problems);

}  // namespace r1
