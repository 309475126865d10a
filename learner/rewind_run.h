// Taking a run back to where one of its stages begins, so that this stage and those behind it run
// again, perhaps with other settings (r1 run --from-stage).
#pragma once

#include "common/status.h"
#include "proto/config.pb.h"

namespace r1::learner {

// Removes what stage `index` and later ones left, newest first, and puts `config` in the place of
// the run's. Interrupted, it can be called again. Nobody may hold the run.
//
// FailedPrecondition: the stage before has not come to its end, or `config` differs in more than
// the stages from `index` on; nothing is changed then. InvalidArgument: the folder is no run.
[[nodiscard]] absl::Status RewindRun(const v1::Config& config, int index);

// Whether the run stands inside stage `index`: it has begun and not ended.
[[nodiscard]] absl::StatusOr<bool> IsInsideStage(const v1::Config& config, int index);

}  // namespace r1::learner
