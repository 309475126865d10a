// Brings one version's weights from the learner: manifest, then chunks; every chunk's crc32c, every
// tensor's xxh3 and the digest of the whole are checked before anybody sees a byte. A transfer that
// breaks is continued at its offset; a corrupt one is fetched again, and the third one is DataLoss.
#pragma once

#include <cstdint>

#include "common/status.h"
#include "common/stop_signal.h"
#include "common/weights.h"
#include "proto/rollout.pb.h"
#include "rollout/learner_transport.h"

namespace r1::rollout {

struct WeightRequest {
  v1::RunIdentity run;
  uint64_t policy_version = 0;
  uint64_t bytes_max = 0;     // what the model can have; more is refused before it is allocated
  double retry_seconds = 30;  // how long the learner may be unreachable
};

// NotFound: the learner no longer keeps the version. FailedPrecondition: another learner. DataLoss:
// corrupt three times. InvalidArgument: a manifest that no model can have. Unavailable: unreachable
// for retry_seconds. Cancelled: `stop` was raised.
[[nodiscard]] absl::StatusOr<WeightsSnapshot> FetchWeights(LearnerTransport& learner,
                                                           const WeightRequest& request,
                                                           const StopSignal& stop);

}  // namespace r1::rollout
