// What the stages call; the answers to workers and ranks are in rollout_pool_owner_handlers.cc.

#include "learner/rollout_pool_owner.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/json.h"
#include "common/log.h"

namespace r1::learner {
namespace {

constexpr double kSliceSeconds = 0.05;
constexpr double kTickSeconds = 0.1;
constexpr uint64_t kLeaseBytesMax = 8 << 20;
constexpr uint64_t kUnretiredGroupsMax = 1 << 20;

// Every spec names its vocabulary, against which token ids are checked.
absl::StatusOr<uint32_t> VocabSize(const v1::StageSpec& spec) {
  const std::string where = absl::StrCat("stage ", spec.stage_index(), ": hf_config_json");
  R1_ASSIGN_OR_RETURN(const nlohmann::json config, ParseJson(spec.hf_config_json(), where));
  R1_ASSIGN_OR_RETURN(const int64_t vocab_size,
                      JsonFields(config, where).Integer("vocab_size", {1, INT32_MAX}));
  return static_cast<uint32_t>(vocab_size);
}

}  // namespace

RolloutPoolOwner::RolloutPoolOwner(const RolloutPoolOptions& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      weights_(options.run),
      ledger_({.lease_timeout_seconds = options.lease_timeout_seconds,
               .worker_timeout_seconds = options.worker_timeout_seconds,
               .attempts_max = options.attempts_max}),
      bulletins_(options.ranks - 1) {
  R1_CHECK(options.rank == 0);
  R1_CHECK(options.ranks >= 1);
}

RolloutPoolOwner::~RolloutPoolOwner() { Close(); }

absl::Status RolloutPoolOwner::Serve() {
  R1_CHECK(server_ == nullptr);
  R1_ASSIGN_OR_RETURN(server_, LearnerServer::Start({.address = options_.address,
                                                     .workers_max = options_.workers_max,
                                                     .ranks = options_.ranks,
                                                     .extra_service = options_.extra_service},
                                                    *this, &weights_, this));
  ticker_ = std::thread([this] {
    while (!ticker_stop_.WaitFor(kTickSeconds)) Tick();
  });
  return absl::OkStatus();
}

void RolloutPoolOwner::Tick() {
  absl::MutexLock lock(&mutex_);
  const GroupLedger::TickResult result = ledger_.Tick(clock_.MonotonicSeconds());
  for (const GroupKey& key : result.expired) {
    R1_LOG(kWarning) << "lease of " << GroupName(key) << " ran out after "
                     << options_.lease_timeout_seconds << " s; leasing it again";
  }
  for (const std::string& worker : result.workers_lost) {
    R1_LOG(kWarning) << "worker " << workers_.Describe(worker) << " is lost: silent for more than "
                     << options_.worker_timeout_seconds << " s; its leases go to others";
  }
  workers_.Prune(ledger_);
  std::erase_if(acquire_serials_, [this](const auto& item) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return !ledger_.Knows(item.first);
  });
  if (!result.expired.empty() || !result.workers_lost.empty()) changed_.SignalAll();
}

absl::Status RolloutPoolOwner::CheckInvariants() const {
  absl::MutexLock lock(&mutex_);
  return ledger_.CheckInvariants();
}

std::string RolloutPoolOwner::address() const {
  return server_ == nullptr ? options_.address : server_->address();
}

absl::Status RolloutPoolOwner::BeginStage(const v1::StageSpec& spec) {
  R1_ASSIGN_OR_RETURN(const uint32_t vocab_size, VocabSize(spec));
  if (spec.numerics().isa() != options_.numerics.isa() ||
      spec.numerics().kernel_version() != options_.numerics.kernel_version()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stage ", spec.stage_index(), ": numerics are isa ", spec.numerics().isa(),
        " kernel_version ", spec.numerics().kernel_version(), ", but the run's are isa ",
        options_.numerics.isa(), " kernel_version ", options_.numerics.kernel_version()));
  }
  absl::MutexLock lock(&mutex_);
  R1_RETURN_IF_ERROR(ledger_.BeginStage(spec.stage_index()));
  spec_ = spec;
  vocab_size_ = vocab_size;
  store_.EraseOtherStages(spec.stage_index());
  std::erase_if(leases_,
                [&spec](const auto& item) { return item.first.stage_index != spec.stage_index(); });
  DropWeights(/*drop_unused=*/false);
  return absl::OkStatus();
}

void RolloutPoolOwner::Publish(std::shared_ptr<const WeightsSnapshot> weights) {
  weights_.Publish(std::move(weights));
  absl::MutexLock lock(&mutex_);
  DropWeights(/*drop_unused=*/false);
}

void RolloutPoolOwner::DropWeights(bool drop_unused) {
  weights_.Keep(ledger_.VersionsInUse(), drop_unused);
}

absl::Status RolloutPoolOwner::CheckOffer(uint64_t step, const v1::Lease& lease,
                                          GroupPlan& plan) const {
  plan = {.key = {lease.stage_index(), lease.purpose(), lease.group_id()},
          .step = step,
          .policy_version = lease.policy_version(),
          .learner_rank = lease.learner_rank(),
          .samples = {lease.missing_samples().begin(), lease.missing_samples().end()}};
  R1_RETURN_IF_ERROR(ledger_.CheckPlan(plan));
  const auto invalid = [&plan](const auto&... args) {
    return absl::InvalidArgumentError(absl::StrCat(GroupName(plan.key), ": ", args...));
  };
  const bool is_eval = lease.purpose() == v1::PURPOSE_EVAL;
  if (is_eval && step != 0) return invalid("an evaluation group has step 0, found ", step);
  if (is_eval && plan.learner_rank != 0) {
    return invalid("evaluation belongs to rank 0, found rank ", plan.learner_rank);
  }
  if (plan.learner_rank >= options_.ranks) {
    return invalid("rank ", plan.learner_rank, " of ", options_.ranks);
  }
  if (!weights_.Has(plan.policy_version)) {
    return invalid("policy_version ", plan.policy_version, " is not published");
  }
  if (lease.prompt_ids().empty()) return invalid("the prompt is empty");
  if (lease.sampling().response_tokens_max() == 0) return invalid("response_tokens_max is 0");
  const uint64_t tokens = uint64_t{static_cast<uint32_t>(lease.prompt_ids_size())} +
                          lease.sampling().response_tokens_max();
  if (tokens > spec_.engine().sequence_tokens_max()) {
    return invalid("prompt of ", lease.prompt_ids_size(), " and response of ",
                   lease.sampling().response_tokens_max(),
                   " tokens exceed the stage's sequence_tokens_max ",
                   spec_.engine().sequence_tokens_max());
  }
  const bool has_rewards =
      std::any_of(spec_.reward_sets().begin(), spec_.reward_sets().end(),
                  [&lease](const v1::RewardSet& set) { return set.name() == lease.reward_set(); });
  if (!has_rewards) return invalid("no reward set '", lease.reward_set(), "' in the stage");
  if (lease.ByteSizeLong() > kLeaseBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        GroupName(plan.key), " (prompt ", lease.prompt_id(), "): lease of ", lease.ByteSizeLong(),
        " bytes exceeds ", kLeaseBytesMax, "; shorten the row's columns"));
  }
  return absl::OkStatus();
}

absl::Status RolloutPoolOwner::AwaitRanks(const std::vector<v1::Lease>& groups) {
  WaitLog log(clock_);
  for (const v1::Lease& lease : groups) {
    const uint32_t rank = lease.learner_rank();
    while (rank != 0 && rank < options_.ranks && !rank_addresses_.contains(rank)) {
      if (log.seconds() > options_.rank_timeout_seconds) {
        return absl::DeadlineExceededError(absl::StrCat("learner rank ", rank,
                                                        " did not register within ",
                                                        options_.rank_timeout_seconds, " s"));
      }
      wait_ = Wait{.kind = Wait::kRank, .first = rank, .count = 0};
      WaitSlice(*wait_, log);
    }
  }
  wait_.reset();
  return absl::OkStatus();
}

absl::Status RolloutPoolOwner::Offer(uint64_t step, std::vector<v1::Lease> groups) {
  absl::MutexLock lock(&mutex_);
  R1_RETURN_IF_ERROR(AwaitRanks(groups));
  if (ledger_.unretired() + groups.size() > kUnretiredGroupsMax) {
    return absl::ResourceExhaustedError(absl::StrCat("step ", step, ": ", ledger_.unretired(),
                                                     " groups are not retired; ", groups.size(),
                                                     " more would exceed ", kUnretiredGroupsMax));
  }
  std::vector<GroupPlan> plans(groups.size());
  std::set<GroupKey> keys;
  for (size_t i = 0; i < groups.size(); ++i) {
    R1_RETURN_IF_ERROR(CheckOffer(step, groups[i], plans[i]));
    if (!keys.insert(plans[i].key).second) {
      return absl::InvalidArgumentError(absl::StrCat(GroupName(plans[i].key), " is offered twice"));
    }
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    ledger_.Plan(plans[i]);
    lease_bytes_max_ = std::max<uint64_t>(lease_bytes_max_, groups[i].ByteSizeLong());
    leases_[plans[i].key] = std::move(groups[i]);
  }
  DropWeights(/*drop_unused=*/false);
  changed_.SignalAll();
  return absl::OkStatus();
}

GroupLedger::Progress RolloutPoolOwner::ProgressOf(const Wait& wait) const {
  return wait.kind == Wait::kStep ? ledger_.TrainProgress(wait.first)
                                  : ledger_.EvalProgress(wait.first, wait.count);
}

Awaited RolloutPoolOwner::Describe(const Wait& wait) const {
  if (wait.kind == Wait::kRank) {
    return {.what = absl::StrCat("rank ", wait.first, " to register"),
            .from = {absl::StrCat("rank ", wait.first)}};
  }
  const GroupLedger::Progress progress = ProgressOf(wait);
  const std::string which =
      wait.kind == Wait::kStep
          ? absl::StrCat("step ", wait.first)
          : absl::StrCat("evaluation groups ", wait.first, " to ", wait.first + wait.count - 1);
  Awaited awaited;
  awaited.what = absl::StrCat(progress.planned - progress.accepted, " of ", progress.planned,
                              " groups of ", which);
  awaited.from.assign(progress.holders.begin(), progress.holders.end());
  if (ledger_.workers_connected() == 0) awaited.from.push_back("no worker connected");
  return awaited;
}

void RolloutPoolOwner::WaitSlice(const Wait& wait, WaitLog& log) {
  changed_.WaitWithTimeout(&mutex_, absl::Seconds(kSliceSeconds));
  log.Poll([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const Awaited awaited = Describe(wait);
    return absl::StrCat(
        awaited.what, ", from ",
        awaited.from.empty() ? "whoever asks next" : absl::StrJoin(awaited.from, ", "));
  });
}

absl::Status RolloutPoolOwner::AwaitComplete(const Wait& wait, const StopSignal& stop) {
  WaitLog log(clock_);
  wait_ = wait;
  const absl::Cleanup reset = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { wait_.reset(); };
  for (;;) {
    const GroupLedger::Progress progress = ProgressOf(wait);
    const std::string what = Describe(wait).what;
    if (progress.planned == 0 || (wait.kind == Wait::kEval && progress.planned < wait.count)) {
      return absl::FailedPreconditionError(absl::StrCat("awaiting ", what, ": never offered"));
    }
    if (!progress.failed.empty()) {
      return absl::AbortedError(absl::StrCat(
          GroupName(progress.failed.front()), " was leased ", options_.attempts_max,
          " times and never came back; something about it stops the workers, see their logs"));
    }
    if (!stop_reason_.empty()) return absl::AbortedError(stop_reason_);
    if (progress.complete()) return absl::OkStatus();
    if (stop.raised()) return absl::CancelledError(absl::StrCat("stopped awaiting ", what));
    WaitSlice(wait, log);
  }
}

std::string RolloutPoolOwner::StepTag(uint64_t step) const {
  return absl::StrCat("stage/", ledger_.stage_index(), "/step/", step);
}

absl::StatusOr<RolloutPool::TrainStep> RolloutPoolOwner::AwaitTrainStep(uint64_t step,
                                                                        const StopSignal& stop) {
  absl::MutexLock lock(&mutex_);
  const absl::Status awaited =
      AwaitComplete({.kind = Wait::kStep, .first = step, .count = 0}, stop);
  if (!awaited.ok()) {
    v1::StepBulletin bulletin;
    bulletin.set_stop(true);
    bulletins_.Post(StepTag(step), bulletin.SerializeAsString());
    changed_.SignalAll();
    return awaited;
  }
  return CollectStep(step);
}

RolloutPool::TrainStep RolloutPoolOwner::CollectStep(uint64_t step) {
  TrainStep result;
  v1::StepBulletin bulletin;
  for (const GroupPlan& plan : ledger_.StepPlans(step)) {
    result.group_ids.push_back(plan.key.group_id);
    bulletin.add_group_ids(plan.key.group_id);
    bulletin.add_learner_ranks(plan.learner_rank);
    bulletin.add_sample_counts(static_cast<uint32_t>(plan.samples.size()));
    if (plan.learner_rank == options_.rank) result.groups.push_back(store_.Get(plan.key));
  }
  bulletins_.Post(StepTag(step), bulletin.SerializeAsString());
  changed_.SignalAll();
  return result;
}

std::vector<v1::Group> RolloutPoolOwner::CollectEval(uint64_t first_group_id, uint64_t count) {
  std::vector<v1::Group> groups;
  for (uint64_t id = first_group_id; id < first_group_id + count; ++id) {
    const GroupKey key{ledger_.stage_index(), v1::PURPOSE_EVAL, id};
    groups.push_back(store_.Get(key));
    store_.Erase(key);
    leases_.erase(key);
  }
  ledger_.RetireEval(first_group_id, count);
  DropWeights(/*drop_unused=*/false);
  return groups;
}

absl::StatusOr<std::optional<std::vector<v1::Group>>> RolloutPoolOwner::TakeEval(
    uint64_t first_group_id, uint64_t count) {
  StopSignal at_once;
  at_once.Raise();
  absl::StatusOr<std::vector<v1::Group>> groups = AwaitEval(first_group_id, count, at_once);
  if (absl::IsCancelled(groups.status())) return std::nullopt;
  if (!groups.ok()) return groups.status();
  return std::optional<std::vector<v1::Group>>(*std::move(groups));
}

absl::StatusOr<std::vector<v1::Group>> RolloutPoolOwner::AwaitEval(uint64_t first_group_id,
                                                                   uint64_t count,
                                                                   const StopSignal& stop) {
  absl::MutexLock lock(&mutex_);
  R1_RETURN_IF_ERROR(
      AwaitComplete({.kind = Wait::kEval, .first = first_group_id, .count = count}, stop));
  return CollectEval(first_group_id, count);
}

void RolloutPoolOwner::RetireStep(uint64_t step, uint64_t filtered) {
  absl::MutexLock lock(&mutex_);
  for (const GroupPlan& plan : ledger_.StepPlans(step)) {
    store_.Erase(plan.key);
    leases_.erase(plan.key);
  }
  ledger_.RetireStep(step, filtered);
  DropWeights(/*drop_unused=*/true);
}

void RolloutPoolOwner::Post(const std::string& tag, const std::string& payload) {
  absl::MutexLock lock(&mutex_);
  bulletins_.Post(tag, payload);
  changed_.SignalAll();
}

absl::StatusOr<std::string> RolloutPoolOwner::AwaitPost(const std::string& tag, const StopSignal&) {
  return absl::FailedPreconditionError(
      absl::StrCat("bulletin ", tag, ": rank 0 posts and the other ranks await"));
}

void RolloutPoolOwner::Save(v1::CheckpointState& state, std::vector<v1::Group>& accepted) const {
  absl::MutexLock lock(&mutex_);
  ledger_.Save(state);
  accepted = store_.All();
}

absl::Status RolloutPoolOwner::Restore(const v1::CheckpointState& state,
                                       std::vector<v1::Group> accepted) {
  absl::MutexLock lock(&mutex_);
  ledger_.Restore(state);
  for (v1::Group& group : accepted) {
    R1_RETURN_IF_ERROR(Annotate(ValidateGroup(group), "checkpoint"));
    v1::ReportGroupRequest report = Summarize(group, options_.rank);
    report.set_restored(true);
    const GroupLedger::Verdict verdict = ledger_.Accept(report);
    store_.Keep(std::move(group), verdict.matching_samples);
  }
  return absl::OkStatus();
}

std::vector<std::shared_ptr<const WeightsSnapshot>> RolloutPoolOwner::LeasedVersions() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<const WeightsSnapshot>> versions;
  for (const uint64_t version : ledger_.VersionsInUse()) {
    if (version != weights_.newest()) versions.push_back(weights_.FindOrNull(version));
  }
  return versions;
}

v1::GroupCounters RolloutPoolOwner::counters() const {
  absl::MutexLock lock(&mutex_);
  return ledger_.counters();
}

Awaited RolloutPoolOwner::awaited() const {
  absl::MutexLock lock(&mutex_);
  return wait_.has_value() ? Describe(*wait_) : Awaited{};
}

std::vector<v1::WorkerStatus> RolloutPoolOwner::workers() const {
  absl::MutexLock lock(&mutex_);
  return workers_.Rows(ledger_, weights_.newest(), clock_.MonotonicSeconds());
}

std::vector<v1::QueueStatus> RolloutPoolOwner::queues() const {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::QueueStatus> queues;
  const auto add = [&queues](const char* name, uint64_t size, uint64_t limit) {
    v1::QueueStatus& queue = queues.emplace_back();
    queue.set_name(name);
    queue.set_size(size);
    queue.set_limit(limit);
  };
  add("unretired groups", ledger_.unretired(), kUnretiredGroupsMax);
  add("unleased groups", ledger_.unleased(), kUnretiredGroupsMax);
  add("stored groups", store_.size(), kUnretiredGroupsMax);
  add("workers", ledger_.workers_connected(), options_.workers_max);
  add("weight versions", weights_.versions(), ledger_.VersionsInUse().size() + 1);
  return queues;
}

void RolloutPoolOwner::Finish(double seconds) {
  {
    absl::MutexLock lock(&mutex_);
    finished_ = true;
    changed_.SignalAll();
    // Without a server nobody can leave while this waits.
    const absl::Time deadline = absl::Now() + absl::Seconds(server_ == nullptr ? 0 : seconds);
    while (ledger_.workers_connected() > 0 && absl::Now() < deadline) {
      changed_.WaitWithDeadline(&mutex_, deadline);
    }
  }
  Close();
}

void RolloutPoolOwner::Close() {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    changed_.SignalAll();
  }
  if (server_ != nullptr) server_->Shutdown();
  ticker_stop_.Raise();
  if (ticker_.joinable()) ticker_.join();
}

}  // namespace r1::learner
