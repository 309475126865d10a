// Rank 0's ledger as the other ranks reach it, over gRPC. Every call has a deadline.
#pragma once

#include <memory>
#include <string>

#include "common/status.h"
#include "learner/rollout_handlers.h"

namespace r1::learner {

// Does not connect yet: the first call does. InvalidArgument: not a loopback address.
[[nodiscard]] absl::StatusOr<std::unique_ptr<LedgerHandler>> MakeLedgerClient(
    const std::string& owner_address);

}  // namespace r1::learner
