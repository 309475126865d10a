#include "tests/sim/sim_learner.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace r1::sim {
namespace {

constexpr uint64_t kGroupsApart = 100;  // group ids of step t begin at 100 t

uint64_t Chain(uint64_t hash, uint64_t value) { return MixBits(hash ^ MixBits(value)); }

std::shared_ptr<const WeightsSnapshot> MakeWeights(uint64_t version, uint64_t value) {
  auto storage = std::make_shared<std::string>(sizeof(value), '\0');
  std::memcpy(storage->data(), &value, sizeof(value));
  auto weights = std::make_shared<WeightsSnapshot>();
  weights->policy_version = version;
  weights->tensors.push_back(
      {.name = "w", .dtype = DType::kU8, .shape = {sizeof(value)}, .bytes = *storage});
  weights->storage = std::move(storage);
  return weights;
}

v1::Numerics ToyNumerics() {
  v1::Numerics numerics;
  numerics.set_isa("reference");
  numerics.set_kernel_version(1);
  return numerics;
}

StopSignal& AtOnce() {
  static StopSignal* signal = [] {
    auto* raised = new StopSignal;
    raised->Raise();
    return raised;
  }();
  return *signal;
}

}  // namespace

uint64_t ToyToken(uint64_t weights, v1::Purpose purpose, uint32_t stage, uint64_t group,
                  uint32_t sample) {
  return Chain(weights, purpose + 4 * (stage + 16 * (sample + 64 * group))) % 1000;
}

Outcome Undisturbed(const Plan& plan) {
  Outcome outcome;
  std::vector<uint64_t> versions = {0, 12345};  // by policy_version
  const auto hash = [&](uint64_t weights, v1::Purpose purpose, uint32_t stage, uint64_t step) {
    uint64_t result = 0;
    for (uint64_t i = 0; i < plan.groups; ++i) {
      for (uint32_t sample = 0; sample < plan.samples; ++sample) {
        const uint64_t group = kGroupsApart * step + i;
        result = Chain(result, ToyToken(weights, purpose, stage, group, sample));
      }
    }
    return result;
  };
  for (uint32_t stage = 0; stage < plan.stages; ++stage) {
    const uint64_t first = versions.size() - 1;
    for (uint64_t step = 1; step <= plan.steps; ++step) {
      const uint64_t behind = step - 1 > plan.lag ? step - 1 - plan.lag : 0;
      const uint64_t seen = hash(versions[first + behind], v1::PURPOSE_TRAIN, stage, step);
      versions.push_back(Chain(versions.back(), seen));
      outcome.evals[{stage, step}] = hash(versions.back(), v1::PURPOSE_EVAL, stage, step);
    }
  }
  outcome.weights = versions.back();
  return outcome;
}

void SimLearner::Start() {
  learner::RolloutPoolOptions options;
  options.run.set_run_id("sim");
  options.run.set_incarnation(++incarnation_);
  options.numerics = ToyNumerics();
  options.lease_timeout_seconds = 5;
  options.worker_timeout_seconds = 2;
  options.attempts_max = 1000;
  pool_ = std::make_unique<learner::RolloutPoolOwner>(options, world_.clock());
  state_ = checkpoint_.has_value() ? checkpoint_->state : State{};
  if (state_.stage == plan_.stages) return;
  if (checkpoint_.has_value() && !pool_->Restore(checkpoint_->pool, checkpoint_->groups).ok()) {
    Fail("Restore failed");
  }
  for (const auto& [version, weights] : state_.weights) Publish(version);
  BeginStage();
  state_.offered = state_.step - 1;
  for (const auto& [step, version] : state_.evals) OfferEval(step, version);
  OfferSteps();
}

void SimLearner::Publish(uint64_t version) {
  pool_->Publish(MakeWeights(version, state_.weights.at(version)));
}

void SimLearner::BeginStage() {
  v1::StageSpec spec;
  spec.set_stage_index(state_.stage);
  spec.set_hf_config_json("{\"vocab_size\": 1000}");
  *spec.mutable_numerics() = ToyNumerics();
  spec.mutable_engine()->set_sequence_tokens_max(16);
  spec.add_reward_sets()->set_name("all");
  if (const absl::Status status = pool_->BeginStage(spec); !status.ok()) {
    Fail(status.ToString());
  }
}

uint64_t SimLearner::VersionOf(uint64_t step) const {
  const uint64_t behind = step - 1 > plan_.lag ? step - 1 - plan_.lag : 0;
  return state_.first_version + behind;
}

v1::Lease SimLearner::MakeLease(v1::Purpose purpose, uint64_t group, uint64_t version) const {
  v1::Lease lease;
  lease.set_stage_index(state_.stage);
  lease.set_purpose(purpose);
  lease.set_group_id(group);
  lease.add_prompt_ids(1);
  lease.mutable_sampling()->set_response_tokens_max(1);
  for (uint32_t sample = 0; sample < plan_.samples; ++sample) lease.add_missing_samples(sample);
  lease.set_policy_version(version);
  lease.set_reward_set("all");
  return lease;
}

void SimLearner::OfferSteps() {
  while (state_.offered < plan_.steps && VersionOf(state_.offered + 1) <= state_.version) {
    const uint64_t step = ++state_.offered;
    std::vector<v1::Lease> leases;
    for (uint64_t i = 0; i < plan_.groups; ++i) {
      leases.push_back(MakeLease(v1::PURPOSE_TRAIN, kGroupsApart * step + i, VersionOf(step)));
    }
    if (const absl::Status status = pool_->Offer(step, leases); !status.ok()) {
      Fail(status.ToString());
    }
  }
}

void SimLearner::OfferEval(uint64_t step, uint64_t version) {
  std::vector<v1::Lease> leases;
  for (uint64_t i = 0; i < plan_.groups; ++i) {
    leases.push_back(MakeLease(v1::PURPOSE_EVAL, kGroupsApart * step + i, version));
  }
  if (const absl::Status status = pool_->Offer(0, leases); !status.ok()) Fail(status.ToString());
}

// The groups must be exactly the planned ones with exactly the right tokens; their hash.
uint64_t SimLearner::Check(const std::vector<v1::Group>& groups, v1::Purpose purpose,
                           uint64_t first_group, uint64_t version) {
  uint64_t hash = 0;
  if (groups.size() != plan_.groups) Fail(absl::StrCat(groups.size(), " groups"));
  for (uint64_t i = 0; i < groups.size(); ++i) {
    const v1::Group& group = groups[i];
    if (group.group_id() != first_group + i) Fail("groups out of order");
    if (group.policy_version() != version) Fail("group of another version");
    if (group.samples_size() != static_cast<int>(plan_.samples)) Fail("samples missing");
    for (const v1::Sample& sample : group.samples()) {
      const uint64_t right = ToyToken(state_.weights.at(version), purpose, state_.stage,
                                      group.group_id(), sample.sample_index());
      if (static_cast<uint64_t>(sample.token_ids(0)) != right) Fail("wrong token");
      hash = Chain(hash, sample.token_ids(0));
    }
  }
  return hash;
}

void SimLearner::Advance() {
  if (pool_ == nullptr || state_.stage == plan_.stages) return;
  pool_->Tick();
  while (EvaluateIfComplete() || TrainIfComplete()) {
  }
  if (const absl::Status status = pool_->CheckInvariants(); !status.ok()) {
    Fail(status.ToString());
  }
}

bool SimLearner::TrainIfComplete() {
  if (state_.stage == plan_.stages || state_.step > plan_.steps) return false;
  const uint64_t step = state_.step;
  const auto result = pool_->AwaitTrainStep(step, AtOnce());
  if (absl::IsCancelled(result.status())) return false;
  if (!result.ok()) {
    Fail(result.status().ToString());
    return false;
  }
  const uint64_t seen =
      Check(result->groups, v1::PURPOSE_TRAIN, kGroupsApart * step, VersionOf(step));
  const uint64_t newest = state_.weights.at(state_.version);
  pool_->RetireStep(step, 0);
  state_.weights[++state_.version] = Chain(newest, seen);
  ++state_.step;
  Publish(state_.version);
  state_.evals[step] = state_.version;
  OfferEval(step, state_.version);
  OfferSteps();
  if (world_.Chance(plan_.checkpoint_probability)) Save();
  return true;
}

bool SimLearner::EvaluateIfComplete() {
  if (state_.evals.empty()) return false;
  const auto [step, version] = *state_.evals.begin();
  auto groups = pool_->TakeEval(kGroupsApart * step, plan_.groups);
  if (!groups.ok()) Fail(groups.status().ToString());
  if (!groups.ok() || !groups->has_value()) return false;
  state_.outcome.evals[{state_.stage, step}] =
      Check(**groups, v1::PURPOSE_EVAL, kGroupsApart * step, version);
  state_.evals.erase(step);
  if (state_.step <= plan_.steps || !state_.evals.empty()) return true;
  // The stage is over: the next one begins with the newest weights.
  state_.outcome.weights = state_.weights.at(state_.version);
  state_.weights = {{state_.version, state_.outcome.weights}};
  state_.first_version = state_.version;
  state_.step = 1;
  state_.offered = 0;
  ++state_.stage;
  if (state_.stage < plan_.stages) {
    BeginStage();
    OfferSteps();
  }
  Save();
  return true;
}

void SimLearner::Save() {
  Checkpoint checkpoint{.state = state_, .pool = {}, .groups = {}};
  pool_->Save(checkpoint.pool, checkpoint.groups);
  const size_t open = (state_.offered + 1 - state_.step + state_.evals.size()) * plan_.groups;
  const size_t planned = checkpoint.pool.planned_size();
  if (state_.stage < plan_.stages && planned != open) Fail("checkpoint lacks planned groups");
  checkpoint_ = std::move(checkpoint);
}

}  // namespace r1::sim
