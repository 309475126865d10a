// The gRPC server of a learner rank: carries the calls of rollout.proto and weights.proto to the
// handlers, and bounds what callers can cost: message sizes, threads, memory, streams, and dead
// connections. No gRPC type leaves rollout_service.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "learner/rollout_handlers.h"

namespace grpc {
class Service;
}

namespace r1::learner {

struct LearnerServerOptions {
  std::string address;  // loopback; port 0 = any free one
  uint32_t workers_max = 256;
  uint32_t ranks = 1;
  grpc::Service* extra_service = nullptr;  // served besides; borrowed; may be null
};

class LearnerServer {
 public:
  // The handlers are borrowed until Shutdown returns; `weights` and `ledger` are rank 0's and may
  // be null. InvalidArgument: not a loopback address. Unavailable: the port is taken.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LearnerServer>> Start(
      const LearnerServerOptions& options, RolloutHandler& rollout, WeightHandler* weights,
      LedgerHandler* ledger);
  virtual ~LearnerServer() = default;

  // HOST:PORT with the port that was found.
  virtual const std::string& address() const = 0;
  // Ends calls in progress and waits for their threads. Fine to call twice.
  virtual void Shutdown() = 0;
};

}  // namespace r1::learner
