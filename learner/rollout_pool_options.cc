#include "learner/rollout_pool_options.h"

#include "common/network_address.h"
#include "learner/ledger_client.h"
#include "learner/rollout_pool_member.h"
#include "learner/rollout_pool_owner.h"

namespace r1::learner {

absl::StatusOr<std::unique_ptr<RolloutPool>> StartRolloutPool(const RolloutPoolOptions& options,
                                                              const Clock& clock) {
  R1_RETURN_IF_ERROR(CheckLoopback(options.address, "learner"));
  if (options.rank == 0) {
    auto pool = std::make_unique<RolloutPoolOwner>(options, clock);
    R1_RETURN_IF_ERROR(pool->Serve());
    return pool;
  }
  R1_ASSIGN_OR_RETURN(std::unique_ptr<LedgerHandler> owner,
                      MakeLedgerClient(options.owner_address));
  auto pool = std::make_unique<RolloutPoolMember>(options, std::move(owner), clock);
  R1_RETURN_IF_ERROR(pool->Serve());
  return pool;
}

}  // namespace r1::learner
