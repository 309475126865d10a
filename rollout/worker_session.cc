#include "rollout/worker_session.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"

namespace r1::rollout {
namespace {

constexpr uint32_t kRunningSamplesFirst = 512;  // until the first stage says
constexpr double kLeaseHoldSeconds = 10;
constexpr double kRetryPauseSeconds = 0.2;
constexpr double kSliceSeconds = 0.05;
constexpr double kWatchSeconds = 0.02;
constexpr double kFlushSeconds = 1;  // of the two seconds in which a stopped worker leaves

double Now() { return RealClock().MonotonicSeconds(); }

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsCancelled(status) || absl::IsResourceExhausted(status);
}

// The response as the learner gets it, not yet scored.
v1::Sample ToSample(const GeneratedSample& generated, uint64_t policy_version) {
  v1::Sample sample;
  sample.set_sample_index(generated.sample_index);
  sample.mutable_token_ids()->Assign(generated.token_ids.begin(), generated.token_ids.end());
  sample.mutable_logprobs()->Assign(generated.logprobs.begin(), generated.logprobs.end());
  v1::Span& span = *sample.add_spans();
  span.set_start(0);
  span.set_count(static_cast<uint32_t>(generated.token_ids.size()));
  span.set_source(v1::Span::SOURCE_SAMPLED);
  span.set_policy_version(policy_version);
  sample.set_finish_reason(generated.stopped ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH);
  return sample;
}

GroupRequest ToRequest(uint64_t request_id, const v1::Lease& lease, uint64_t run_seed) {
  GroupRequest request;
  request.request_id = request_id;
  request.prompt_ids.assign(lease.prompt_ids().begin(), lease.prompt_ids().end());
  request.sample_indices.assign(lease.missing_samples().begin(), lease.missing_samples().end());
  request.temperature = lease.sampling().temperature();
  request.response_tokens_max = lease.sampling().response_tokens_max();
  request.stop_ids.assign(lease.sampling().stop_ids().begin(), lease.sampling().stop_ids().end());
  request.run_seed = run_seed;
  request.stage_index = lease.stage_index();
  request.purpose =
      lease.purpose() == v1::PURPOSE_EVAL ? RngPurpose::kEvalSample : RngPurpose::kTrainSample;
  request.group_id = lease.group_id();
  return request;
}

}  // namespace

WorkerSession::WorkerSession(const WorkerOptions& options, const WorkerParts& parts,
                             LearnerTransport& learner, const v1::JoinReply& joined,
                             const StopSignal& stop)
    : options_(options),
      parts_(parts),
      learner_(learner),
      joined_(joined),
      stop_(stop),
      last_contact_(Now()),
      running_samples_max_(kRunningSamplesFirst),
      shared_{.mutex = {}, .changed = {}, .book = LeaseBook(joined.run(), joined.worker_id())} {
  stats_.set_phase("waiting_for_lease");
}

absl::Status WorkerSession::Run() {
  std::thread watch([this] { WatchLoop(); });
  std::thread leases([this] {
    LeaseLoop();
    --callers_;
  });
  std::thread heartbeats([this] {
    HeartbeatLoop();
    --callers_;
  });
  if (const absl::Status status = EngineLoop(); !status.ok()) End(status);
  --callers_;
  leases.join();
  heartbeats.join();
  watch.join();
  Drain();
  absl::MutexLock lock(&mutex_);
  return status_;
}

void WorkerSession::End(const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    if (ended()) return;
    status_ = status;
    ending_.Raise();
  }
  absl::MutexLock lock(&shared_.mutex);
  shared_.changed.SignalAll();
}

void WorkerSession::Contact() { last_contact_ = Now(); }

// True when the call succeeded. An error that waiting does not mend ends the session, and so does a
// learner that is silent for too long.
bool WorkerSession::HandleReply(const absl::Status& status, const char* call) {
  if (status.ok()) {
    Contact();
    return true;
  }
  if (ended()) return false;
  if (!IsTransient(status)) {
    End(Annotate(status, call));
  } else if (const double silent = Now() - last_contact_; silent > options_.retry_seconds) {
    End(absl::UnavailableError(absl::StrCat("the learner at ", options_.learner, " is gone for ",
                                            static_cast<int>(silent), " s: ", status.message())));
  } else {
    ending_.WaitFor(kRetryPauseSeconds);
  }
  return false;
}

void WorkerSession::WatchLoop() {
  while (!ended()) {
    if (stop_.WaitFor(kWatchSeconds)) End(absl::OkStatus());
  }
  // Again and again, as a call may begin just after it was cancelled.
  while (callers_ > 0) {
    learner_.CancelCalls();
    absl::SleepFor(absl::Seconds(kWatchSeconds));
  }
}

void WorkerSession::LeaseLoop() {
  while (!ended()) {
    v1::AcquireLeasesRequest request;
    *request.mutable_run() = joined_.run();
    request.set_worker_id(joined_.worker_id());
    request.set_wait_seconds(kLeaseHoldSeconds);
    {
      absl::MutexLock lock(&shared_.mutex);
      const LeaseBook::Room room = shared_.book.RoomFor(running_samples_max_);
      if (room.samples == 0) {
        shared_.changed.WaitWithTimeout(&shared_.mutex, absl::Seconds(kSliceSeconds));
        continue;
      }
      request.set_groups_max(room.groups);
      request.set_samples_max(room.samples);
      for (v1::LeaseKey& key : shared_.book.Held()) *request.add_held() = std::move(key);
    }
    absl::StatusOr<v1::AcquireLeasesReply> reply = learner_.AcquireLeases(request);
    if (!HandleReply(reply.status(), "asking for leases")) continue;
    if (reply->run_finished()) return End(absl::OkStatus());
    absl::MutexLock lock(&shared_.mutex);
    shared_.book.Add({std::make_move_iterator(reply->mutable_leases()->begin()),
                      std::make_move_iterator(reply->mutable_leases()->end())},
                     Now());
    shared_.changed.SignalAll();
  }
}

void WorkerSession::HeartbeatLoop() {
  while (!ending_.WaitFor(joined_.heartbeat_seconds())) {
    v1::HeartbeatRequest request;
    *request.mutable_run() = joined_.run();
    request.set_worker_id(joined_.worker_id());
    *request.mutable_stats() = Stats();
    const absl::StatusOr<v1::HeartbeatReply> reply = learner_.Heartbeat(request);
    if (!HandleReply(reply.status(), "heartbeat")) continue;
    if (reply->run_finished()) End(absl::OkStatus());
  }
}

v1::WorkerStats WorkerSession::Stats() {
  size_t queued = 0;
  size_t outgoing = 0;
  {
    absl::MutexLock lock(&shared_.mutex);
    queued = shared_.book.queued();
    outgoing = shared_.book.outgoing();
  }
  absl::MutexLock lock(&mutex_);
  stats_.set_queued_groups(static_cast<uint32_t>(queued));
  stats_.set_unacknowledged_groups(static_cast<uint32_t>(outgoing));
  return stats_;
}

void WorkerSession::SetPhase(const std::string& phase) {
  absl::MutexLock lock(&mutex_);
  stats_.set_phase(phase);
}

absl::Status WorkerSession::EngineLoop() {
  while (!ended()) {
    R1_ASSIGN_OR_RETURN(const bool submitted, SubmitQueued());
    if (submitted || (tools_.has_value() && !tools_->engine->idle())) {
      R1_RETURN_IF_ERROR(StepEngine());
      continue;
    }
    std::optional<LeaseBook::Target> next;
    {
      absl::MutexLock lock(&shared_.mutex);
      next = shared_.book.NextTarget();
    }
    if (!next.has_value()) {
      WaitForWork();
    } else if (next != loaded_) {
      R1_RETURN_IF_ERROR(DropIfGone(Load(*next), *next));
    }
  }
  return absl::OkStatus();
}

void WorkerSession::WaitForWork() {
  SetPhase("waiting_for_lease");
  const double begin = Now();
  {
    absl::MutexLock lock(&shared_.mutex);
    if (!shared_.book.NextTarget().has_value() && !ended()) {
      shared_.changed.WaitWithTimeout(&shared_.mutex, absl::Seconds(kSliceSeconds));
    }
  }
  absl::MutexLock lock(&mutex_);
  stats_.set_idle_seconds_total(stats_.idle_seconds_total() + Now() - begin);
}

absl::StatusOr<bool> WorkerSession::SubmitQueued() {
  if (!loaded_.has_value()) return false;
  std::vector<LeaseBook::Submission> submissions;
  {
    absl::MutexLock lock(&shared_.mutex);
    submissions = shared_.book.TakeQueued(*loaded_, Now());
  }
  for (const LeaseBook::Submission& submission : submissions) {
    const v1::Lease& lease = *submission.lease;
    R1_RETURN_IF_ERROR(
        Annotate(tools_->engine->Submit(ToRequest(submission.request_id, lease, run_seed_)),
                 absl::StrCat("group ", lease.group_id(), " of stage ", lease.stage_index())));
  }
  return !submissions.empty();
}

absl::Status WorkerSession::StepEngine() {
  SetPhase("generating");
  const double begin = Now();
  R1_ASSIGN_OR_RETURN(const std::vector<GeneratedSample> finished, tools_->engine->Step());
  const double end = Now();
  const EngineStats engine = tools_->engine->stats();
  {
    absl::MutexLock lock(&mutex_);
    stats_.set_generate_seconds_total(stats_.generate_seconds_total() + end - begin);
    stats_.set_running_samples(engine.running_samples);
    stats_.set_generated_tokens_total(tokens_before_stage_ + engine.generated_tokens_total);
    stats_.set_kv_used_frac(engine.kv_used_frac);
  }
  for (const GeneratedSample& generated : finished) {
    RewardPool::Job job;
    job.request_id = generated.request_id;
    job.scorer = tools_->scorer;
    job.sample = ToSample(generated, loaded_->policy_version);
    {
      absl::MutexLock lock(&shared_.mutex);
      job.lease = shared_.book.LeaseOf(generated.request_id);
      shared_.book.Generated(generated.request_id, end);
    }
    rewards_->Submit(std::move(job));
  }
  return absl::OkStatus();
}

void WorkerSession::Scored(RewardPool::Job job, const absl::Status& status, double score_seconds) {
  const bool retry_elsewhere = absl::IsUnavailable(status);
  if (!status.ok() && !retry_elsewhere) return End(status);
  if (retry_elsewhere) R1_LOG(kWarning) << "handing a sample back: " << status.message();
  {
    absl::MutexLock lock(&mutex_);
    stats_.set_score_seconds_total(stats_.score_seconds_total() + score_seconds);
  }
  bool complete = false;
  {
    absl::MutexLock lock(&shared_.mutex);
    complete = retry_elsewhere
                   ? shared_.book.AddFailed(job.request_id)
                   : shared_.book.AddScored(job.request_id, std::move(job.sample), score_seconds);
    if (complete) shared_.changed.SignalAll();
  }
  if (complete) StartSenders();
}

void WorkerSession::StartSenders() {
  std::set<std::string> addresses;
  {
    absl::MutexLock lock(&shared_.mutex);
    addresses = shared_.book.OutgoingAddresses();
  }
  absl::MutexLock lock(&mutex_);
  for (const std::string& address : addresses) {
    std::unique_ptr<GroupSender>& sender = senders_[address];
    if (sender != nullptr) continue;
    const GroupSender::Options options{
        .address = address, .run = joined_.run(), .worker_id = joined_.worker_id()};
    sender = std::make_unique<GroupSender>(
        options, learner_, shared_, [this](const absl::Status& status) { End(status); },
        [this] { Contact(); });
  }
}

absl::Status WorkerSession::DropIfGone(const absl::Status& status,
                                       const LeaseBook::Target& target) {
  if (ended()) return absl::OkStatus();  // whatever failed, the session ends already
  if (!absl::IsNotFound(status)) return status;
  absl::MutexLock lock(&shared_.mutex);
  const size_t dropped = shared_.book.DropQueued(target);
  R1_LOG(kInfo) << "dropping " << dropped << " leases: " << status.message();
  shared_.changed.SignalAll();
  return absl::OkStatus();
}

absl::Status WorkerSession::Load(const LeaseBook::Target& target) {
  SetPhase("loading_weights");
  const double begin = Now();
  loaded_.reset();
  if (stage_index_ != target.stage_index) {
    stage_index_.reset();
    R1_RETURN_IF_ERROR(LoadStage(target.stage_index));
    stage_index_ = target.stage_index;
  }
  R1_RETURN_IF_ERROR(LoadWeights(target));
  loaded_ = target;
  absl::MutexLock lock(&mutex_);
  stats_.set_policy_version(target.policy_version);
  stats_.set_weight_load_seconds_total(stats_.weight_load_seconds_total() + Now() - begin);
  return absl::OkStatus();
}

absl::Status WorkerSession::LoadStage(uint32_t stage_index) {
  v1::StageSpecRequest request;
  *request.mutable_run() = joined_.run();
  request.set_stage_index(stage_index);
  absl::StatusOr<v1::StageSpecReply> reply = learner_.GetStageSpec(request);
  while (IsTransient(reply.status()) && !ended()) {
    HandleReply(reply.status(), "fetching the stage");
    reply = learner_.GetStageSpec(request);
  }
  R1_RETURN_IF_ERROR(reply.status());
  const v1::StageSpec& spec = reply->spec();
  if (Sha256Hex(spec.SerializeAsString()) != reply->sha256()) {
    return absl::DataLossError(absl::StrCat("spec of stage ", stage_index, ": sha256 differs"));
  }
  if (tools_.has_value()) tokens_before_stage_ += tools_->engine->stats().generated_tokens_total;
  tools_.reset();  // the old engine's memory goes before the new one's comes
  R1_ASSIGN_OR_RETURN(tools_, parts_.make_stage(spec, options_));
  run_seed_ = spec.run_seed();
  running_samples_max_ = spec.engine().running_samples_max();
  const int reward_threads = std::max<int>(1, static_cast<int>(spec.engine().reward_threads()));
  rewards_ = std::make_unique<RewardPool>(
      reward_threads, 4 * size_t{spec.engine().running_samples_max()} + 1,
      [this](RewardPool::Job job, const absl::Status& status, double score_seconds) {
        Scored(std::move(job), status, score_seconds);
      });
  R1_LOG(kInfo) << "stage " << spec.stage_name() << " (" << stage_index << ") is set up";
  return absl::OkStatus();
}

absl::Status WorkerSession::LoadWeights(const LeaseBook::Target& target) {
  R1_ASSIGN_OR_RETURN(const WeightsSnapshot weights,
                      FetchWeights(learner_,
                                   {.run = joined_.run(),
                                    .policy_version = target.policy_version,
                                    .bytes_max = tools_->weights_bytes_max,
                                    .retry_seconds = options_.retry_seconds},
                                   ending_));
  R1_RETURN_IF_ERROR(tools_->check_weights(weights));
  Contact();
  return tools_->engine->LoadWeights(weights);
}

// After all other threads but the senders: what is finished goes out, the rest goes back.
void WorkerSession::Drain() {
  SetPhase("draining");
  if (rewards_ != nullptr) rewards_->Drain();
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    status = status_;
  }
  // Another learner, or none: nobody wants anything of ours.
  const bool learner_there = !absl::IsFailedPrecondition(status) && !absl::IsUnavailable(status);
  if (learner_there) {
    {
      absl::MutexLock lock(&shared_.mutex);
      shared_.book.GiveUpUnfinished();
      shared_.changed.SignalAll();
    }
    StartSenders();
    const absl::Time deadline = absl::Now() + absl::Seconds(kFlushSeconds);
    absl::MutexLock lock(&shared_.mutex);
    while (shared_.book.outgoing() > 0 && absl::Now() < deadline) {
      shared_.changed.WaitWithDeadline(&shared_.mutex, deadline);
    }
  }
  std::map<std::string, std::unique_ptr<GroupSender>> senders;
  {
    absl::MutexLock lock(&mutex_);
    senders.swap(senders_);
  }
  senders.clear();
  if (!learner_there) return;
  v1::LeaveRequest request;
  *request.mutable_run() = joined_.run();
  request.set_worker_id(joined_.worker_id());
  request.set_reason(status.ok() ? (stop_.raised() ? "stopped" : "run finished")
                                 : status.ToString());
  if (const absl::Status left = learner_.Leave(request); !left.ok()) {
    R1_LOG(kInfo) << "could not say goodbye: " << left.message();
  }
}

}  // namespace r1::rollout
