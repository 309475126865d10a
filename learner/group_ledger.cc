#include "learner/group_ledger.h"

#include <algorithm>
#include <utility>

namespace r1::learner {
namespace {

GroupLedger::Verdict Refused(const GroupKey& key, absl::string_view why) {
  GroupLedger::Verdict verdict;
  verdict.reason = absl::StrCat(GroupName(key), ": ", why);
  return verdict;
}

// A lost worker is forgotten after so many worker timeouts.
constexpr double kForgetTimeouts = 60;

uint64_t CeilDiv(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

}  // namespace

std::string GroupName(const GroupKey& key) {
  const char* purpose = key.purpose == v1::PURPOSE_TRAIN  ? "TRAIN"
                        : key.purpose == v1::PURPOSE_EVAL ? "EVAL"
                                                          : "unknown-purpose";
  return absl::StrCat(purpose, " group ", key.group_id, " of stage ", key.stage_index);
}

absl::Status GroupLedger::BeginStage(uint32_t stage_index) {
  if (stage_index_ == stage_index) return absl::OkStatus();
  if (!steps_.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("stage ", stage_index, " cannot begin: step ",
                                                      steps_.begin()->first, " of stage ",
                                                      this->stage_index(), " is not retired"));
  }
  while (!groups_.empty()) {
    const Entry& entry = groups_.begin()->second;
    if (entry.counted && entry.state != State::kFailed) {
      counters_.set_expired(counters_.expired() + 1);
    }
    Erase(groups_.begin()->first);
  }
  std::erase_if(restored_,
                [stage_index](const auto& item) { return item.first.stage_index != stage_index; });
  stage_index_ = stage_index;
  return absl::OkStatus();
}

absl::Status GroupLedger::CheckPlan(const GroupPlan& plan) const {
  const GroupKey& key = plan.key;
  if (stage_index_ != key.stage_index) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupName(key), " offered in stage ", stage_index()));
  }
  if (key.purpose != v1::PURPOSE_TRAIN && key.purpose != v1::PURPOSE_EVAL) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupName(key), ": purpose ", key.purpose, " is neither TRAIN nor EVAL"));
  }
  if (plan.samples.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(GroupName(key), " asks for no samples"));
  }
  if (std::adjacent_find(plan.samples.begin(), plan.samples.end(),
                         std::greater_equal<uint32_t>()) != plan.samples.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupName(key), ": sample indices must ascend without repetition"));
  }
  if (groups_.contains(key)) {
    return absl::FailedPreconditionError(absl::StrCat(GroupName(key), " is offered already"));
  }
  return absl::OkStatus();
}

void GroupLedger::Plan(const GroupPlan& plan) {
  R1_CHECK(CheckPlan(plan).ok());
  const GroupKey& key = plan.key;
  Entry& entry = groups_[key];
  entry.plan = plan;
  entry.digests.resize(plan.samples.size());
  unleased_.insert(OrderOf(plan));
  ++versions_in_use_[plan.policy_version];
  if (key.purpose == v1::PURPOSE_TRAIN) steps_[plan.step].groups.insert(key);

  if (const auto restored = restored_.find(key); restored != restored_.end()) {
    const v1::ReportGroupRequest report = std::move(restored->second);
    restored_.erase(restored);
    if (RefusalOrEmpty(report, entry).empty()) AcceptSamples(report, entry);
  }
}

void GroupLedger::WorkerJoined(const std::string& worker, double now) {
  Worker& entry = workers_[worker];
  entry.connected = true;
  entry.last_seen = now;
}

bool GroupLedger::WorkerSeen(const std::string& worker, double now) {
  const auto found = workers_.find(worker);
  if (found == workers_.end()) return false;
  found->second.connected = true;
  found->second.last_seen = std::max(found->second.last_seen, now);
  return true;
}

void GroupLedger::WorkerLeft(const std::string& worker) {
  const auto found = workers_.find(worker);
  if (found == workers_.end()) return;
  HandBackAll(found->second);
  workers_.erase(found);
}

void GroupLedger::Reconcile(const std::string& worker, const std::set<GroupKey>& held) {
  const std::set<GroupKey> believed = workers_.at(worker).leases;
  for (const GroupKey& key : believed) {
    if (!held.contains(key)) HandBack(groups_.at(key));
  }
}

std::vector<GroupLedger::Grant> GroupLedger::Acquire(const std::string& worker, uint32_t groups_max,
                                                     uint32_t samples_max, double now) {
  const auto found = workers_.find(worker);
  R1_CHECK(found != workers_.end());
  R1_CHECK(found->second.connected);
  Worker& holder = found->second;
  // Two bounds. A share of what is left keeps something for whoever is faster; a fair share of all
  // that is unfinished keeps one worker from collecting it in many small requests.
  const uint64_t connected = workers_connected();
  const uint64_t unfinished = unleased_.size() + deadlines_.size();
  const uint64_t fair = CeilDiv(unfinished, connected);
  const uint64_t held = holder.leases.size();
  const uint64_t share = std::min<uint64_t>(
      {groups_max, CeilDiv(unleased_.size(), connected), fair > held ? fair - held : 0});
  std::vector<Grant> grants;
  uint64_t samples = 0;
  while (grants.size() < share && samples < samples_max) {
    const Order order = *unleased_.begin();
    const GroupKey key{stage_index(), order.purpose, order.group_id};
    Entry& entry = groups_.at(key);
    unleased_.erase(unleased_.begin());
    Grant grant{.key = key, .attempt = entry.leases, .missing_samples = {}};
    for (size_t i = 0; i < entry.plan.samples.size(); ++i) {
      if (!entry.digests[i].has_value()) grant.missing_samples.push_back(entry.plan.samples[i]);
    }
    samples += grant.missing_samples.size();
    entry.state = State::kLeased;
    ++entry.leases;
    CountAsLeased(entry);
    entry.worker = worker;
    entry.deadline = now + options_.lease_timeout_seconds;
    holder.leases.insert(key);
    deadlines_.emplace(entry.deadline, key);
    grants.push_back(std::move(grant));
  }
  return grants;
}

GroupLedger::Verdict GroupLedger::Accept(const v1::ReportGroupRequest& report) {
  const GroupKey key{report.stage_index(), report.purpose(), report.group_id()};
  const auto found = groups_.find(key);
  if (found == groups_.end() && report.restored() &&
      (!stage_index_.has_value() || key.stage_index >= *stage_index_)) {
    // Kept until it is offered; what another rank restores may arrive before that.
    restored_[key] = report;
    return {.outcome = v1::GroupAck::OUTCOME_ACCEPTED,
            .reason = "",
            .matching_samples = {report.sample_indices().begin(), report.sample_indices().end()}};
  }
  if (found == groups_.end()) {
    return Refused(key, stage_index_ == key.stage_index
                            ? "not wanted: retired already, or never offered"
                            : absl::StrCat("of another stage; now is stage ", stage_index()));
  }
  const std::string refusal = RefusalOrEmpty(report, found->second);
  if (!refusal.empty()) return Refused(key, refusal);
  return AcceptSamples(report, found->second);
}

// Why a report about a planned group is refused as a whole.
std::string GroupLedger::RefusalOrEmpty(const v1::ReportGroupRequest& report,
                                        const Entry& entry) const {
  if (report.policy_version() != entry.plan.policy_version) {
    return absl::StrCat("generated by policy_version ", report.policy_version(), ", leased for ",
                        entry.plan.policy_version);
  }
  if (report.rank() != entry.plan.learner_rank) {
    return absl::StrCat("sent to rank ", report.rank(), ", belongs to rank ",
                        entry.plan.learner_rank);
  }
  if (!report.restored() && report.attempt() >= entry.leases) {
    return absl::StrCat("attempt ", report.attempt(), " was never leased");
  }
  if (entry.state == State::kFailed) {
    return absl::StrCat("given up after ", entry.leases, " leases");
  }
  for (const uint32_t sample : report.sample_indices()) {
    if (!std::binary_search(entry.plan.samples.begin(), entry.plan.samples.end(), sample)) {
      return absl::StrCat("sample ", sample, " was not asked for");
    }
  }
  return "";
}

GroupLedger::Verdict GroupLedger::AcceptSamples(const v1::ReportGroupRequest& report,
                                                Entry& entry) {
  R1_CHECK(report.sample_indices_size() == report.sample_digests_size());
  Verdict verdict;
  bool news = false;
  for (int i = 0; i < report.sample_indices_size(); ++i) {
    const uint32_t sample = report.sample_indices(i);
    const auto& samples = entry.plan.samples;
    const size_t slot = std::lower_bound(samples.begin(), samples.end(), sample) - samples.begin();
    std::optional<uint64_t>& digest = entry.digests[slot];
    if (!digest.has_value()) {
      digest = report.sample_digests(i);
      ++entry.accepted;
      news = true;
    }
    if (*digest == report.sample_digests(i)) {
      verdict.matching_samples.push_back(sample);
    } else {
      counters_.set_conflicts(counters_.conflicts() + 1);
      verdict.reason = absl::StrCat("sample ", sample, " differs from the one accepted before");
    }
  }
  verdict.outcome = news ? v1::GroupAck::OUTCOME_ACCEPTED : v1::GroupAck::OUTCOME_DUPLICATE;
  if (!news) counters_.set_duplicates(counters_.duplicates() + 1);
  if (news && entry.accepted == entry.plan.samples.size()) Complete(entry);
  return verdict;
}

void GroupLedger::Complete(Entry& entry) {
  if (entry.state == State::kLeased) {
    EndLease(entry);
  } else {
    unleased_.erase(OrderOf(entry.plan));
  }
  CountAsLeased(entry);
  entry.state = State::kAccepted;
  if (entry.plan.key.purpose == v1::PURPOSE_TRAIN) ++steps_.at(entry.plan.step).accepted;
}

void GroupLedger::CountAsLeased(Entry& entry) {
  if (entry.counted) return;
  entry.counted = true;
  counters_.set_leased(counters_.leased() + 1);
}

// The lease's traces outside the entry; the caller sets the new state.
void GroupLedger::EndLease(Entry& entry) {
  deadlines_.erase({entry.deadline, entry.plan.key});
  workers_.at(entry.worker).leases.erase(entry.plan.key);
  entry.worker.clear();
}

void GroupLedger::HandBack(Entry& entry) {
  EndLease(entry);
  if (entry.leases >= options_.attempts_max) {
    entry.state = State::kFailed;
    counters_.set_failed(counters_.failed() + 1);
    return;
  }
  entry.state = State::kUnleased;
  unleased_.insert(OrderOf(entry.plan));
}

void GroupLedger::HandBackAll(Worker& worker) {
  while (!worker.leases.empty()) HandBack(groups_.at(*worker.leases.begin()));
}

GroupLedger::TickResult GroupLedger::Tick(double now) {
  TickResult result;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const GroupKey key = deadlines_.begin()->second;
    HandBack(groups_.at(key));
    result.expired.push_back(key);
  }
  for (auto next = workers_.begin(); next != workers_.end();) {
    const auto current = next++;
    Worker& worker = current->second;
    const double silent_seconds = now - worker.last_seen;
    if (worker.connected && silent_seconds > options_.worker_timeout_seconds) {
      worker.connected = false;
      HandBackAll(worker);
      result.workers_lost.push_back(current->first);
    }
    if (silent_seconds > kForgetTimeouts * options_.worker_timeout_seconds) {
      workers_.erase(current);
    }
  }
  return result;
}

void GroupLedger::AddToProgress(const Entry& entry, Progress& progress) const {
  ++progress.planned;
  switch (entry.state) {
    case State::kUnleased:
      ++progress.unleased;
      break;
    case State::kLeased:
      progress.holders.insert(entry.worker);
      break;
    case State::kAccepted:
      ++progress.accepted;
      break;
    case State::kFailed:
      progress.failed.push_back(entry.plan.key);
      break;
  }
}

GroupLedger::Progress GroupLedger::TrainProgress(uint64_t step) const {
  Progress progress;
  const auto found = steps_.find(step);
  if (found == steps_.end()) return progress;
  for (const GroupKey& key : found->second.groups) AddToProgress(groups_.at(key), progress);
  return progress;
}

GroupLedger::Progress GroupLedger::EvalProgress(uint64_t first_group_id, uint64_t count) const {
  Progress progress;
  auto next = groups_.lower_bound({stage_index(), v1::PURPOSE_EVAL, first_group_id});
  for (; next != groups_.end() && next->first.group_id - first_group_id < count; ++next) {
    AddToProgress(next->second, progress);
  }
  return progress;
}

std::vector<GroupPlan> GroupLedger::StepPlans(uint64_t step) const {
  std::vector<GroupPlan> plans;
  const auto found = steps_.find(step);
  if (found == steps_.end()) return plans;
  for (const GroupKey& key : found->second.groups) plans.push_back(groups_.at(key).plan);
  return plans;
}

const GroupPlan* GroupLedger::FindPlanOrNull(const GroupKey& key) const {
  const auto found = groups_.find(key);
  return found == groups_.end() ? nullptr : &found->second.plan;
}

void GroupLedger::RetireStep(uint64_t step, uint64_t filtered) {
  const auto found = steps_.find(step);
  R1_CHECK(found != steps_.end());
  const std::set<GroupKey> keys = found->second.groups;
  R1_CHECK(found->second.accepted == keys.size());
  R1_CHECK(filtered <= keys.size());
  counters_.set_trained(counters_.trained() + keys.size() - filtered);
  counters_.set_filtered(counters_.filtered() + filtered);
  for (const GroupKey& key : keys) Erase(key);
}

void GroupLedger::RetireEval(uint64_t first_group_id, uint64_t count) {
  for (uint64_t id = first_group_id; id < first_group_id + count; ++id) {
    const GroupKey key{stage_index(), v1::PURPOSE_EVAL, id};
    R1_CHECK(groups_.at(key).state == State::kAccepted);
    counters_.set_evaluated(counters_.evaluated() + 1);
    Erase(key);
  }
}

// Removes every trace of a group but its counters.
void GroupLedger::Erase(const GroupKey& key) {
  const auto found = groups_.find(key);
  Entry& entry = found->second;
  if (entry.state == State::kLeased) EndLease(entry);
  if (entry.state == State::kUnleased) unleased_.erase(OrderOf(entry.plan));
  const auto version = versions_in_use_.find(entry.plan.policy_version);
  if (--version->second == 0) versions_in_use_.erase(version);
  if (key.purpose == v1::PURPOSE_TRAIN) {
    const auto step = steps_.find(entry.plan.step);
    step->second.groups.erase(key);
    if (step->second.groups.empty()) steps_.erase(step);
  }
  groups_.erase(found);
}

std::vector<uint64_t> GroupLedger::VersionsInUse() const {
  std::vector<uint64_t> versions;
  for (const auto& [version, groups] : versions_in_use_) versions.push_back(version);
  return versions;
}

uint32_t GroupLedger::workers_connected() const {
  uint32_t connected = 0;
  for (const auto& [name, worker] : workers_) connected += worker.connected ? 1 : 0;
  return connected;
}

bool GroupLedger::IsConnected(const std::string& worker) const {
  const auto found = workers_.find(worker);
  return found != workers_.end() && found->second.connected;
}

uint64_t GroupLedger::LeasesOf(const std::string& worker) const {
  const auto found = workers_.find(worker);
  return found == workers_.end() ? 0 : found->second.leases.size();
}

double GroupLedger::LastSeen(const std::string& worker) const {
  const auto found = workers_.find(worker);
  return found == workers_.end() ? 0 : found->second.last_seen;
}

void GroupLedger::Save(v1::CheckpointState& state) const {
  *state.mutable_counters() = counters_;
  uint64_t unretired = 0;
  for (const auto& [key, entry] : groups_) {
    if (entry.state == State::kFailed) continue;
    unretired += entry.counted ? 1 : 0;
    v1::PlannedGroup& planned = *state.add_planned();
    planned.set_purpose(key.purpose);
    planned.set_group_id(key.group_id);
    planned.set_policy_version(entry.plan.policy_version);
    planned.set_step(entry.plan.step);
  }
  state.mutable_counters()->set_leased(counters_.leased() - unretired);
}

absl::Status GroupLedger::CheckInvariants() const {
  uint64_t unleased = 0;
  uint64_t leased = 0;
  uint64_t counted = 0;
  std::map<uint64_t, uint64_t> versions;
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> steps;  // step -> groups, accepted
  const auto broken = [](const GroupKey& key, const char* what) {
    return absl::InternalError(absl::StrCat(GroupName(key), ": ", what));
  };
  for (const auto& [key, entry] : groups_) {
    counted += entry.counted && entry.state != State::kFailed ? 1 : 0;
    ++versions[entry.plan.policy_version];
    if (key.stage_index != stage_index_) return broken(key, "not of the current stage");
    uint32_t accepted = 0;
    for (const auto& digest : entry.digests) accepted += digest.has_value() ? 1 : 0;
    if (accepted != entry.accepted) return broken(key, "accepted samples are miscounted");
    const bool complete = accepted == entry.plan.samples.size();
    if (complete != (entry.state == State::kAccepted)) return broken(key, "wrong completeness");
    if (entry.state == State::kLeased) {
      ++leased;
      const auto worker = workers_.find(entry.worker);
      if (worker == workers_.end()) return broken(key, "leased to nobody known");
      if (!worker->second.connected) return broken(key, "leased to a lost worker");
      if (!worker->second.leases.contains(key)) return broken(key, "its worker does not hold it");
      if (!deadlines_.contains({entry.deadline, key})) return broken(key, "lease never ends");
    }
    if (entry.state == State::kUnleased) {
      ++unleased;
      if (!unleased_.contains(OrderOf(entry.plan))) return broken(key, "will never be leased");
    }
    if (key.purpose == v1::PURPOSE_TRAIN) {
      ++steps[entry.plan.step].first;
      steps[entry.plan.step].second += complete ? 1 : 0;
    }
  }
  if (unleased != unleased_.size()) return absl::InternalError("unleased: stale entries");
  if (leased != deadlines_.size()) return absl::InternalError("deadlines: stale entries");
  if (versions != versions_in_use_) return absl::InternalError("versions in use differ");
  uint64_t held = 0;
  for (const auto& [name, worker] : workers_) held += worker.leases.size();
  if (held != leased) return absl::InternalError("workers hold leases that do not exist");
  if (steps.size() != steps_.size()) return absl::InternalError("steps: stale entries");
  for (const auto& [number, step] : steps_) {
    if (steps[number] != std::pair<uint64_t, uint64_t>(step.groups.size(), step.accepted)) {
      return absl::InternalError(absl::StrCat("step ", number, " is miscounted"));
    }
  }
  const uint64_t retired = counters_.trained() + counters_.filtered() + counters_.evaluated() +
                           counters_.expired() + counters_.failed();
  if (counters_.leased() != retired + counted) {
    return absl::InternalError(absl::StrCat("P1: leased ", counters_.leased(), " != retired ",
                                            retired, " + unretired ", counted));
  }
  return absl::OkStatus();
}

}  // namespace r1::learner
