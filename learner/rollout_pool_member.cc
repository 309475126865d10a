#include "learner/rollout_pool_member.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/wait_log.h"
#include "learner/message_validation.h"

namespace r1::learner {
namespace {

constexpr double kBulletinHoldSeconds = 1;
// A step is announced when rank 0 has accepted its groups; its answer to this rank may still be
// on the way.
constexpr double kStragglerSeconds = 30;

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

RolloutPoolMember::RolloutPoolMember(const RolloutPoolOptions& options,
                                     std::unique_ptr<LedgerHandler> owner, const Clock& clock)
    : options_(options), owner_(std::move(owner)), clock_(clock) {
  R1_CHECK(options.rank > 0);
  R1_CHECK(options.rank < options.ranks);
}

RolloutPoolMember::~RolloutPoolMember() { Finish(/*seconds=*/0); }

absl::Status RolloutPoolMember::Serve() {
  R1_CHECK(server_ == nullptr);
  R1_ASSIGN_OR_RETURN(server_, LearnerServer::Start({.address = options_.address,
                                                     .workers_max = options_.workers_max,
                                                     .ranks = options_.ranks,
                                                     .extra_service = options_.extra_service},
                                                    *this, nullptr, nullptr));
  v1::RegisterRankRequest request;
  *request.mutable_run() = options_.run;
  request.set_rank(options_.rank);
  request.set_address(address());
  return AskOwner("registration", [&] { return owner_->RegisterRank(request); }).status();
}

template <typename Ask>
auto RolloutPoolMember::AskOwner(const std::string& what, const Ask& ask) -> decltype(ask()) {
  WaitLog log(clock_);
  for (;;) {
    auto reply = ask();
    if (!IsTransient(reply.status()) || log.seconds() > options_.rank_timeout_seconds) {
      return reply;
    }
    {
      absl::MutexLock lock(&mutex_);
      if (closed_) return reply;
    }
    log.Poll([&] { return absl::StrCat(what, " by rank 0: ", reply.status().message()); });
    absl::SleepFor(absl::Milliseconds(100));
  }
}

absl::Status RolloutPoolMember::OnlyOwner(const char* what) const {
  return absl::FailedPreconditionError(absl::StrCat(what, ": this is rank ", options_.rank,
                                                    "; only rank 0 at ", options_.owner_address,
                                                    " does that"));
}

absl::Status RolloutPoolMember::BeginStage(const v1::StageSpec& spec) {
  absl::MutexLock lock(&mutex_);
  if (stage_index_ != spec.stage_index() && !steps_.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("stage ", spec.stage_index(),
                                                      " cannot begin: step ", steps_.begin()->first,
                                                      " is not retired"));
  }
  stage_index_ = spec.stage_index();
  store_.EraseOtherStages(stage_index_);
  return absl::OkStatus();
}

void RolloutPoolMember::Publish(std::shared_ptr<const WeightsSnapshot>) {
  R1_CHECK(options_.rank == 0);  // rank 0 publishes for all
}

absl::Status RolloutPoolMember::Offer(uint64_t, std::vector<v1::Lease>) {
  return OnlyOwner("Offer");
}

absl::StatusOr<std::optional<std::vector<v1::Group>>> RolloutPoolMember::TakeEval(uint64_t,
                                                                                  uint64_t) {
  return OnlyOwner("TakeEval");
}

absl::StatusOr<std::vector<v1::Group>> RolloutPoolMember::AwaitEval(uint64_t, uint64_t,
                                                                    const StopSignal&) {
  return OnlyOwner("AwaitEval");
}

void RolloutPoolMember::Post(const std::string&, const std::string&) {
  R1_CHECK(options_.rank == 0);  // rank 0 posts, the others await
}

absl::StatusOr<std::string> RolloutPoolMember::AwaitPost(const std::string& tag,
                                                         const StopSignal& stop) {
  v1::AwaitBulletinRequest request;
  *request.mutable_run() = options_.run;
  request.set_rank(options_.rank);
  request.set_tag(tag);
  request.set_wait_seconds(kBulletinHoldSeconds);
  {
    absl::MutexLock lock(&mutex_);
    awaited_ = absl::StrCat("bulletin ", tag);
  }
  const absl::Cleanup reset = [this] {
    absl::MutexLock lock(&mutex_);
    awaited_.clear();
  };
  WaitLog log(clock_);
  std::optional<double> stopped_at;
  for (;;) {
    R1_ASSIGN_OR_RETURN(const v1::AwaitBulletinReply reply,
                        AskOwner(absl::StrCat("bulletin ", tag), [&] {
                          return owner_->AwaitBulletin(request, [] { return false; });
                        }));
    if (reply.posted()) return reply.payload();
    if (stop.raised() && !stopped_at.has_value()) stopped_at = log.seconds();
    if (stopped_at.has_value() && log.seconds() - *stopped_at > options_.stop_grace_seconds) {
      return absl::CancelledError(absl::StrCat("stopped awaiting bulletin ", tag, ": rank 0 said ",
                                               "nothing for ", options_.stop_grace_seconds, " s"));
    }
    log.Poll([&] { return absl::StrCat("bulletin ", tag, ", from rank 0"); });
  }
}

absl::StatusOr<RolloutPool::TrainStep> RolloutPoolMember::AwaitTrainStep(uint64_t step,
                                                                         const StopSignal& stop) {
  std::string tag;
  {
    absl::MutexLock lock(&mutex_);
    tag = absl::StrCat("stage/", stage_index_, "/step/", step);
  }
  R1_ASSIGN_OR_RETURN(const std::string payload, AwaitPost(tag, stop));
  v1::StepBulletin bulletin;
  if (!bulletin.ParseFromString(payload) ||
      bulletin.learner_ranks_size() != bulletin.group_ids_size() ||
      bulletin.sample_counts_size() != bulletin.group_ids_size()) {
    return absl::DataLossError(absl::StrCat("bulletin ", tag, " is malformed"));
  }
  if (bulletin.stop()) {
    return absl::CancelledError(absl::StrCat("rank 0 stopped awaiting step ", step));
  }
  return CollectStep(step, bulletin);
}

absl::StatusOr<RolloutPool::TrainStep> RolloutPoolMember::CollectStep(
    uint64_t step, const v1::StepBulletin& bulletin) {
  const absl::Time deadline = absl::Now() + absl::Seconds(kStragglerSeconds);
  absl::MutexLock lock(&mutex_);
  TrainStep result;
  std::vector<GroupKey> keys;
  for (int i = 0; i < bulletin.group_ids_size(); ++i) {
    result.group_ids.push_back(bulletin.group_ids(i));
    if (bulletin.learner_ranks(i) != options_.rank) continue;
    const GroupKey key{stage_index_, v1::PURPOSE_TRAIN, bulletin.group_ids(i)};
    while (store_.SamplesOf(key) < bulletin.sample_counts(i)) {
      if (changed_.WaitWithDeadline(&mutex_, deadline)) {
        return absl::DataLossError(absl::StrCat("step ", step, ": rank 0 says that rank ",
                                                options_.rank, " has ", GroupName(key),
                                                ", but it has not"));
      }
    }
    keys.push_back(key);
    result.groups.push_back(store_.Get(key));
  }
  steps_[step] = std::move(keys);
  return result;
}

void RolloutPoolMember::RetireStep(uint64_t step, uint64_t) {
  absl::MutexLock lock(&mutex_);
  const auto found = steps_.find(step);
  R1_CHECK(found != steps_.end());
  for (const GroupKey& key : found->second) store_.Erase(key);
  steps_.erase(found);
}

void RolloutPoolMember::Save(v1::CheckpointState&, std::vector<v1::Group>& accepted) const {
  absl::MutexLock lock(&mutex_);
  accepted = store_.All();
}

absl::Status RolloutPoolMember::Restore(const v1::CheckpointState&,
                                        std::vector<v1::Group> accepted) {
  for (v1::Group& group : accepted) {
    R1_RETURN_IF_ERROR(Annotate(ValidateGroup(group), "checkpoint"));
    v1::ReportGroupRequest report = Summarize(group, options_.rank);
    *report.mutable_run() = options_.run;  // restored into this incarnation
    report.set_restored(true);
    R1_ASSIGN_OR_RETURN(const v1::ReportGroupReply reply,
                        AskOwner("restored group", [&] { return owner_->ReportGroup(report); }));
    absl::MutexLock lock(&mutex_);
    store_.Keep(std::move(group),
                {reply.matching_samples().begin(), reply.matching_samples().end()});
  }
  return absl::OkStatus();
}

std::vector<std::shared_ptr<const WeightsSnapshot>> RolloutPoolMember::LeasedVersions() const {
  return {};
}

v1::GroupCounters RolloutPoolMember::counters() const { return {}; }

Awaited RolloutPoolMember::awaited() const {
  absl::MutexLock lock(&mutex_);
  if (awaited_.empty()) return {};
  return {.what = awaited_, .from = {"rank 0"}};
}

std::vector<v1::WorkerStatus> RolloutPoolMember::workers() const { return {}; }

std::vector<v1::QueueStatus> RolloutPoolMember::queues() const {
  absl::MutexLock lock(&mutex_);
  v1::QueueStatus stored;
  stored.set_name("stored groups");
  stored.set_size(store_.size());
  return {stored};
}

void RolloutPoolMember::Finish(double) {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  if (server_ != nullptr) server_->Shutdown();
}

absl::Status RolloutPoolMember::CheckIdentity(const v1::RunIdentity& run) const {
  return CheckSameLearner(options_.run, run);
}

// The group is stored only with rank 0's word, and acknowledged only when it is stored.
absl::StatusOr<v1::GroupAck> RolloutPoolMember::AcceptGroup(v1::Group group) {
  R1_RETURN_IF_ERROR(CheckIdentity(group.run()));
  R1_RETURN_IF_ERROR(ValidateGroup(group));
  const v1::ReportGroupRequest report = Summarize(group, options_.rank);
  R1_ASSIGN_OR_RETURN(const v1::ReportGroupReply reply,
                      AskOwner("report of a group", [&] { return owner_->ReportGroup(report); }));
  v1::GroupAck ack;
  ack.set_stage_index(group.stage_index());
  ack.set_purpose(group.purpose());
  ack.set_group_id(group.group_id());
  ack.set_attempt(group.attempt());
  ack.set_outcome(reply.outcome());
  ack.set_reason(reply.reason());
  absl::MutexLock lock(&mutex_);
  store_.Keep(std::move(group), {reply.matching_samples().begin(), reply.matching_samples().end()});
  changed_.SignalAll();
  return ack;
}

absl::StatusOr<v1::JoinReply> RolloutPoolMember::Join(const v1::JoinRequest&) {
  return OnlyOwner("Join");
}

absl::StatusOr<v1::StageSpecReply> RolloutPoolMember::GetStageSpec(const v1::StageSpecRequest&) {
  return OnlyOwner("GetStageSpec");
}

absl::StatusOr<v1::AcquireLeasesReply> RolloutPoolMember::AcquireLeases(
    const v1::AcquireLeasesRequest&, const CallerGone&) {
  return OnlyOwner("AcquireLeases");
}

absl::StatusOr<v1::HeartbeatReply> RolloutPoolMember::Heartbeat(const v1::HeartbeatRequest&) {
  return OnlyOwner("Heartbeat");
}

absl::StatusOr<v1::LeaveReply> RolloutPoolMember::Leave(const v1::LeaveRequest&) {
  return OnlyOwner("Leave");
}

}  // namespace r1::learner
