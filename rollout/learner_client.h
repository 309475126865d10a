// LearnerTransport over gRPC.
#pragma once

#include <memory>
#include <string>

#include "common/status.h"
#include "rollout/learner_transport.h"

namespace r1::rollout {

// Does not connect yet: the first call does. InvalidArgument: not a loopback address.
[[nodiscard]] absl::StatusOr<std::unique_ptr<LearnerTransport>> MakeLearnerClient(
    const std::string& address);

}  // namespace r1::rollout
