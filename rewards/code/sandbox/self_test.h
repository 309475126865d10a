// Proves the layers of a slot from inside: a job tries what each of them is to stop. Run when a
// pool starts; the tests run it with one layer off, where it has to name that layer.
#pragma once

#include <string>
#include <vector>

#include "common/status.h"
#include "rewards/code/sandbox/cgroup.h"
#include "rewards/code/sandbox/slot.h"

namespace r1::rewards::code {

// Lines "layer: what got through"; empty when every layer of `layers` holds. Through the zygote, or
// through an interpreter that is executed. Unavailable: the jobs could not be run.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> FindLeaks(Slot& slot, CgroupTree& cgroups,
                                                                 LayerSet layers, Program program);

}  // namespace r1::rewards::code
