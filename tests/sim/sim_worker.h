// A worker process in the simulation: the real lease book, and around it what WorkerSession does
// with threads, as events: join, ask for leases, load weights, generate, send until acknowledged,
// send heartbeats.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "rollout/lease_book.h"
#include "tests/sim/sim_learner.h"
#include "tests/sim/sim_world.h"

namespace r1::sim {

class SimWorker {
 public:
  SimWorker(int node, World& world, SimLearner& learner)
      : node_(node), world_(world), learner_(learner) {
    Start();
  }

  // kill -9, and later a new process.
  void Kill() { ++life_; }
  void Start();
  // SIGSTOP for a while: nothing of it runs, its messages still arrive.
  void Stall(double seconds) { stalled_until_ = world_.now() + seconds; }

 private:
  // Runs `event` later, unless the process has died meanwhile; a stalled one runs it afterwards.
  void Later(double seconds, std::function<void()> event);
  // A call to the learner: the handler runs there, `done` here, at most once; Unavailable after 1
  // s.
  template <typename Reply>
  void Call(std::function<absl::StatusOr<Reply>(learner::RolloutPoolOwner&)> handler,
            std::function<void(const absl::StatusOr<Reply>&)> done);
  // True when the learner wants the worker to join again, which begins.
  bool Rejoin(const absl::Status& status);

  void Join();
  void Acquire();
  void Heartbeat();
  void Generate();
  void Load(const rollout::LeaseBook::Target& target);
  void Finish(uint64_t request_id, const std::shared_ptr<const v1::Lease>& lease, uint32_t sample);
  void SendGroups();

  const int node_;
  World& world_;
  SimLearner& learner_;
  uint64_t life_ = 0;  // counts processes and sessions: events of an older one do nothing
  double stalled_until_ = 0;
  v1::RunIdentity run_;
  std::string worker_id_;
  std::optional<rollout::LeaseBook> book_;
  std::optional<rollout::LeaseBook::Target> loaded_;
  uint64_t weights_ = 0;
};

}  // namespace r1::sim
