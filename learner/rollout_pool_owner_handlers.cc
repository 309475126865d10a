// The owner's answers to workers and to other ranks.

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/hash.h"
#include "common/log.h"
#include "learner/rollout_pool_owner.h"

namespace r1::learner {
namespace {

// A held call looks this often whether its caller is still there.
constexpr double kPollSeconds = 0.25;
constexpr double kHoldSecondsMax = 30;
constexpr size_t kNameBytesMax = 256;
constexpr int kIsasMax = 16;

absl::Time HoldUntil(double wait_seconds) {
  const double seconds = wait_seconds > 0 ? std::min(wait_seconds, kHoldSecondsMax) : 0;
  return absl::Now() + absl::Seconds(seconds);  // NaN compares false: no wait
}

absl::Status CheckNumerics(const v1::Numerics& run, const v1::JoinRequest& request) {
  if (request.kernel_version() != run.kernel_version()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker refused: its kernel_version is ", request.kernel_version(), ", the run's is ",
        run.kernel_version(), "; use the same build of r1 (worker: ", request.build(), ")"));
  }
  const auto& isas = request.runnable_isas();
  if (std::find(isas.begin(), isas.end(), run.isa()) == isas.end()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker refused: the run computes with isa ", run.isa(), ", but ", request.host(),
        " runs only ", absl::StrJoin(isas, ", "), "; results would differ in their last bits"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RolloutPoolOwner::CheckIdentity(const v1::RunIdentity& run) const {
  return CheckSameLearner(options_.run, run);
}

absl::StatusOr<v1::JoinReply> RolloutPoolOwner::Join(const v1::JoinRequest& request) {
  if (request.protocol_version() != v1::PROTOCOL_VERSION_CURRENT) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker refused: it speaks protocol version ", request.protocol_version(),
        ", this learner speaks ", v1::PROTOCOL_VERSION_CURRENT, "; use the same build of r1"));
  }
  R1_RETURN_IF_ERROR(CheckText(request.host(), kNameBytesMax, "join.host"));
  R1_RETURN_IF_ERROR(CheckText(request.build(), kNameBytesMax, "join.build"));
  if (request.runnable_isas_size() > kIsasMax) {
    return absl::InvalidArgumentError(absl::StrCat("join.runnable_isas: expected at most ",
                                                   kIsasMax, ", found ",
                                                   request.runnable_isas_size()));
  }
  for (const std::string& isa : request.runnable_isas()) {
    R1_RETURN_IF_ERROR(CheckText(isa, kNameBytesMax, "join.runnable_isas"));
  }
  R1_RETURN_IF_ERROR(CheckNumerics(options_.numerics, request));

  absl::MutexLock lock(&mutex_);
  if (ledger_.workers_connected() >= options_.workers_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("worker refused: ", options_.workers_max, " workers are connected already"));
  }
  const std::string worker = absl::StrCat("w", ++joined_);
  ledger_.WorkerJoined(worker, clock_.MonotonicSeconds());
  workers_.Joined(worker, request);
  R1_LOG(kInfo) << "worker " << workers_.Describe(worker) << " joined";
  v1::JoinReply reply;
  *reply.mutable_run() = options_.run;
  reply.set_worker_id(worker);
  reply.set_worker_timeout_seconds(options_.worker_timeout_seconds);
  reply.set_heartbeat_seconds(std::min(1.0, options_.worker_timeout_seconds / 5));
  changed_.SignalAll();
  return reply;
}

absl::StatusOr<v1::StageSpecReply> RolloutPoolOwner::GetStageSpec(
    const v1::StageSpecRequest& request) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  absl::MutexLock lock(&mutex_);
  if (vocab_size_ == 0 || spec_.stage_index() != request.stage_index()) {
    return absl::NotFoundError(absl::StrCat("stage ", request.stage_index(),
                                            " is not the current stage, ", ledger_.stage_index()));
  }
  v1::StageSpecReply reply;
  *reply.mutable_spec() = spec_;
  reply.set_sha256(Sha256Hex(spec_.SerializeAsString()));
  return reply;
}

// Every message of a worker tells that it lives.
absl::Status RolloutPoolOwner::Seen(const std::string& worker) {
  if (ledger_.WorkerSeen(worker, clock_.MonotonicSeconds())) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("worker '", worker.substr(0, kNameBytesMax), "' is not known: join again"));
}

absl::StatusOr<v1::AcquireLeasesReply> RolloutPoolOwner::AcquireLeases(
    const v1::AcquireLeasesRequest& request, const CallerGone& gone) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  std::set<GroupKey> held;
  for (const v1::LeaseKey& key : request.held()) {
    held.insert({key.stage_index(), key.purpose(), key.group_id()});
  }
  const absl::Time until = HoldUntil(request.wait_seconds());
  const std::string& worker = request.worker_id();
  absl::MutexLock lock(&mutex_);
  R1_RETURN_IF_ERROR(Seen(worker));
  const uint64_t serial = ++acquire_serials_[worker];
  ledger_.Reconcile(worker, held);
  v1::AcquireLeasesReply reply;
  absl::Time ask_again = absl::InfinitePast();
  for (;;) {
    // A caller that is gone, or has called again, must not be given anything.
    const bool current = acquire_serials_[worker] == serial && ledger_.IsConnected(worker);
    reply.set_run_finished(finished_);
    if (finished_ || !current) return reply;
    // The question takes as long as a grant: it is asked where there is something to give, and now
    // and then.
    if (ledger_.unleased() > 0 || absl::Now() >= ask_again) {
      if (gone()) return reply;
      ask_again = absl::Now() + absl::Seconds(kPollSeconds);
    }
    if (closed_) return absl::UnavailableError("the learner is closing");
    for (v1::Lease& lease : Grant(request)) *reply.add_leases() = std::move(lease);
    if (!reply.leases().empty() || absl::Now() >= until) return reply;
    changed_.WaitWithDeadline(&mutex_, std::min(until, absl::Now() + absl::Seconds(kPollSeconds)));
  }
}

std::vector<v1::Lease> RolloutPoolOwner::Grant(const v1::AcquireLeasesRequest& request) {
  // The reply must fit into one message, whatever the prompts.
  const uint64_t fit = std::max<uint64_t>(1, kDataBytesMax / 2 / lease_bytes_max_);
  const uint32_t groups_max = static_cast<uint32_t>(std::min<uint64_t>(request.groups_max(), fit));
  std::vector<v1::Lease> leases;
  for (const GroupLedger::Grant& grant : ledger_.Acquire(
           request.worker_id(), groups_max, request.samples_max(), clock_.MonotonicSeconds())) {
    v1::Lease lease = leases_.at(grant.key);
    lease.set_attempt(grant.attempt);
    lease.mutable_missing_samples()->Assign(grant.missing_samples.begin(),
                                            grant.missing_samples.end());
    const uint32_t rank = lease.learner_rank();
    lease.set_learner_address(rank == 0 ? address() : rank_addresses_.at(rank));
    lease.set_timeout_seconds(options_.lease_timeout_seconds);
    leases.push_back(std::move(lease));
  }
  return leases;
}

absl::StatusOr<v1::GroupAck> RolloutPoolOwner::AcceptGroup(v1::Group group) {
  R1_RETURN_IF_ERROR(CheckIdentity(group.run()));
  R1_RETURN_IF_ERROR(ValidateGroup(group));
  const v1::ReportGroupRequest report = Summarize(group, options_.rank);
  v1::GroupAck ack;
  ack.set_stage_index(group.stage_index());
  ack.set_purpose(group.purpose());
  ack.set_group_id(group.group_id());
  ack.set_attempt(group.attempt());

  absl::MutexLock lock(&mutex_);
  R1_ASSIGN_OR_RETURN(const v1::ReportGroupReply reply, Report(report));
  store_.Keep(std::move(group), {reply.matching_samples().begin(), reply.matching_samples().end()});
  ack.set_outcome(reply.outcome());
  ack.set_reason(reply.reason());
  return ack;
}

absl::StatusOr<v1::ReportGroupReply> RolloutPoolOwner::ReportGroup(
    const v1::ReportGroupRequest& request) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  R1_RETURN_IF_ERROR(ValidateReport(request));
  absl::MutexLock lock(&mutex_);
  return Report(request);
}

absl::StatusOr<v1::ReportGroupReply> RolloutPoolOwner::Report(
    const v1::ReportGroupRequest& report) {
  if (!report.restored()) R1_RETURN_IF_ERROR(Seen(report.worker_id()));
  const auto lease = leases_.find({report.stage_index(), report.purpose(), report.group_id()});
  if (lease != leases_.end() && lease->second.policy_version() == report.policy_version()) {
    R1_RETURN_IF_ERROR(
        CheckLimits(report, {.vocab_size = vocab_size_,
                             .response_tokens_max = lease->second.sampling().response_tokens_max(),
                             .policy_version = report.policy_version(),
                             .strict = options_.strict,
                             .newest_version = weights_.newest()}));
  }
  v1::ReportGroupReply reply;
  if (!report.stop_reason().empty()) {
    // Not accepted: a run that resumes with the fault mended generates the group again.
    stop_reason_ = absl::StrCat("group ", report.group_id(), ": ", report.stop_reason());
    reply.set_outcome(v1::GroupAck::OUTCOME_REFUSED);
    reply.set_reason("the run stops: a reward failed");
    changed_.SignalAll();
    return reply;
  }
  const GroupLedger::Verdict verdict = ledger_.Accept(report);
  reply.set_outcome(verdict.outcome);
  reply.set_reason(verdict.reason);
  reply.mutable_matching_samples()->Assign(verdict.matching_samples.begin(),
                                           verdict.matching_samples.end());
  if (verdict.outcome == v1::GroupAck::OUTCOME_REFUSED) {
    R1_LOG(kInfo) << "refused from " << report.worker_id() << ": " << verdict.reason;
  } else if (!verdict.reason.empty()) {
    R1_LOG(kWarning) << "conflict from " << report.worker_id() << ": group " << report.group_id()
                     << ": " << verdict.reason;
  }
  DropWeights(/*drop_unused=*/false);
  changed_.SignalAll();
  return reply;
}

absl::StatusOr<v1::HeartbeatReply> RolloutPoolOwner::Heartbeat(
    const v1::HeartbeatRequest& request) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  R1_RETURN_IF_ERROR(CheckText(request.stats().phase(), kNameBytesMax, "heartbeat.stats.phase"));
  absl::MutexLock lock(&mutex_);
  R1_RETURN_IF_ERROR(Seen(request.worker_id()));
  workers_.Heartbeat(request.worker_id(), request.stats(), clock_.MonotonicSeconds());
  v1::HeartbeatReply reply;
  reply.set_run_finished(finished_);
  return reply;
}

absl::StatusOr<v1::LeaveReply> RolloutPoolOwner::Leave(const v1::LeaveRequest& request) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  R1_RETURN_IF_ERROR(CheckText(request.reason(), kControlBytesMax, "leave.reason"));
  absl::MutexLock lock(&mutex_);
  if (ledger_.Knows(request.worker_id())) {
    R1_LOG(kInfo) << "worker " << workers_.Describe(request.worker_id())
                  << " left: " << request.reason() << " (hands back "
                  << ledger_.LeasesOf(request.worker_id()) << " leases)";
  }
  ledger_.WorkerLeft(request.worker_id());
  workers_.Prune(ledger_);
  changed_.SignalAll();
  return v1::LeaveReply();
}

absl::StatusOr<v1::RegisterRankReply> RolloutPoolOwner::RegisterRank(
    const v1::RegisterRankRequest& request) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  if (request.rank() == 0 || request.rank() >= options_.ranks) {
    return absl::InvalidArgumentError(absl::StrCat("register.rank: expected 1 to ",
                                                   options_.ranks - 1, ", found ", request.rank()));
  }
  absl::MutexLock lock(&mutex_);
  rank_addresses_[request.rank()] = request.address();
  changed_.SignalAll();
  return v1::RegisterRankReply();
}

absl::StatusOr<v1::AwaitBulletinReply> RolloutPoolOwner::AwaitBulletin(
    const v1::AwaitBulletinRequest& request, const CallerGone& gone) {
  R1_RETURN_IF_ERROR(CheckIdentity(request.run()));
  const absl::Time until = HoldUntil(request.wait_seconds());
  absl::MutexLock lock(&mutex_);
  v1::AwaitBulletinReply reply;
  for (;;) {
    const std::string* payload = bulletins_.ReadOrNull(request.tag(), request.rank());
    if (payload != nullptr) {
      reply.set_posted(true);
      reply.set_payload(*payload);
    }
    if (payload != nullptr || closed_ || gone() || absl::Now() >= until) return reply;
    changed_.WaitWithDeadline(&mutex_, std::min(until, absl::Now() + absl::Seconds(kPollSeconds)));
  }
}

}  // namespace r1::learner
