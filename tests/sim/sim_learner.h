// The learner process in the simulation: the real pool without its server, and a small stage driver
// that trains on what it gets. "Training" hashes the step's samples into the weights, so that one
// wrong, missing, repeated or reordered sample changes everything after it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "learner/rollout_pool_owner.h"
#include "tests/sim/sim_world.h"

namespace r1::sim {

struct Plan {
  uint32_t stages = 2;
  uint64_t steps = 3;  // of each stage
  uint64_t groups = 4;
  uint32_t samples = 2;
  uint64_t lag = 0;
  double checkpoint_probability = 0.5;  // after a step
};

// What a sample of the toy policy says; depends on the weights and on nothing but the sample's
// name.
uint64_t ToyToken(uint64_t weights, v1::Purpose purpose, uint32_t stage, uint64_t group,
                  uint32_t sample);
// The outcome of a run that nothing disturbs.
struct Outcome {
  uint64_t weights = 0;
  std::map<std::pair<uint32_t, uint64_t>, uint64_t> evals;  // stage and step -> hash
  friend bool operator==(const Outcome&, const Outcome&) = default;
};
Outcome Undisturbed(const Plan& plan);

class SimLearner {
 public:
  SimLearner(const Plan& plan, World& world) : plan_(plan), world_(world) { Start(); }

  // Null while the process is dead.
  learner::RolloutPoolOwner* pool() { return pool_.get(); }
  void Kill() { pool_.reset(); }
  // From the last checkpoint.
  void Start();
  // To be called after every event: trains, evaluates and checkpoints what is complete.
  void Advance();

  bool done() const { return pool_ != nullptr && state_.stage == plan_.stages; }
  const Outcome& outcome() const { return state_.outcome; }
  // What went wrong, or empty.
  const std::string& failure() const { return failure_; }
  uint64_t restarts() const { return incarnation_ - 1; }

 private:
  // What a checkpoint holds besides the pool's part.
  struct State {
    uint32_t stage = 0;
    uint64_t step = 1;                                    // next to train
    uint64_t offered = 0;                                 // last one offered
    uint64_t version = 1;                                 // newest
    uint64_t first_version = 1;                           // of the stage
    std::map<uint64_t, uint64_t> weights = {{1, 12345}};  // of versions still needed
    std::map<uint64_t, uint64_t> evals;                   // pending: step -> version
    Outcome outcome;
  };
  struct Checkpoint {
    State state;
    v1::CheckpointState pool;
    std::vector<v1::Group> groups;
  };

  void BeginStage();
  void Publish(uint64_t version);
  uint64_t VersionOf(uint64_t step) const;
  void OfferSteps();
  void OfferEval(uint64_t step, uint64_t version);
  v1::Lease MakeLease(v1::Purpose purpose, uint64_t group, uint64_t version) const;
  bool TrainIfComplete();
  bool EvaluateIfComplete();
  uint64_t Check(const std::vector<v1::Group>& groups, v1::Purpose purpose, uint64_t first_group,
                 uint64_t version);
  void Save();
  void Fail(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }

  const Plan plan_;
  World& world_;
  uint64_t incarnation_ = 0;
  State state_;
  std::optional<Checkpoint> checkpoint_;  // on the disk: survives Kill
  std::unique_ptr<learner::RolloutPoolOwner> pool_;
  std::string failure_;
};

}  // namespace r1::sim
