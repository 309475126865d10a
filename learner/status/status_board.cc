#include "learner/status/status_board.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/utf8.h"

namespace r1::learner {
namespace {

constexpr size_t kEventBytesMax = 4096;
constexpr size_t kAwaitedFromMax = 64;
// Labels are bounded: what comes after so many different ones is counted as "other".
constexpr size_t kLabelsMax = 64;
// Weight of the newest step in the moving average of step times.
constexpr double kStepSecondsWeight = 0.1;

PrometheusHistogram EmptyPhaseSeconds() {
  return PrometheusHistogram({0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000});
}

const char* StateName(RunState state) {
  switch (state) {
    case RunState::kStarting:
      return "starting";
    case RunState::kRunning:
      return "running";
    case RunState::kFinished:
      return "finished";
    case RunState::kFailed:
      return "failed";
    case RunState::kPreempted:
      return "preempted";
  }
  return "?";
}

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "?";
}

// Reasons for which a sample was not judged, as opposed to judged wrong.
bool IsRewardError(absl::string_view reason) {
  return reason == "infra_error" || reason == "reward_error" || reason == "timeout";
}

template <typename Key>
void CountBounded(std::map<Key, uint64_t>& counts, const Key& key, const Key& other) {
  const bool known = counts.count(key) > 0;
  ++counts[known || counts.size() < kLabelsMax ? key : other];
}

}  // namespace

StatusBoard::StatusBoard(StatusBoardOptions options)
    : options_(std::move(options)),
      started_(options_.clock->MonotonicSeconds()),
      metrics_(options_.metrics),
      samples_(options_.samples_bytes_max) {
  absl::MutexLock lock(&mutex_);
  run_.set_run_id(options_.run_id);
  run_.set_incarnation(options_.incarnation);
  run_.set_build(options_.build);
  run_.set_run_dir(ReplaceInvalidUtf8(options_.run_dir));
  run_.set_stages(options_.stages);
  moved_ = started_;
}

void StatusBoard::SetLiveProvider(LiveProvider provider) {
  absl::MutexLock lock(&live_mutex_);  // waits for the readers that run the old one
  live_provider_ = std::move(provider);
}

void StatusBoard::BeginStage(const std::string& name, uint32_t index, int64_t first_step,
                             int64_t steps) {
  const double now = options_.clock->MonotonicSeconds();
  absl::MutexLock lock(&mutex_);
  state_ = RunState::kRunning;
  run_.set_stage(ReplaceInvalidUtf8(name));
  run_.set_stage_index(index);
  run_.set_step(first_step);
  run_.set_steps(steps);
  run_.set_update(0);
  step_seconds_ = 0;
  step_ended_ = now;
  moved_ = now;
  AddEventLocked(LogLevel::kInfo,
                 first_step == 0 ? absl::StrCat("stage ", name, " begins")
                                 : absl::StrCat("stage ", name, " continues at step ", first_step));
}

void StatusBoard::SetProgress(int64_t step, int64_t update) {
  const double now = options_.clock->MonotonicSeconds();
  absl::MutexLock lock(&mutex_);
  if (step > run_.step()) {
    const double seconds = (now - step_ended_) / static_cast<double>(step - run_.step());
    step_seconds_ = step_seconds_ == 0
                        ? seconds
                        : step_seconds_ + kStepSecondsWeight * (seconds - step_seconds_);
    step_ended_ = now;
    moved_ = now;
  }
  run_.set_step(step);
  run_.set_update(update);
}

void StatusBoard::SetPolicyVersion(uint64_t version) {
  absl::MutexLock lock(&mutex_);
  run_.set_policy_version(version);
}

void StatusBoard::SetState(RunState state, const std::string& error) {
  absl::MutexLock lock(&mutex_);
  state_ = state;
  run_.set_error(ReplaceInvalidUtf8(error));
  if (state == RunState::kFailed) AddEventLocked(LogLevel::kError, absl::StrCat("failed: ", error));
  if (state == RunState::kPreempted) AddEventLocked(LogLevel::kWarning, "preempted");
  if (state == RunState::kFinished) AddEventLocked(LogLevel::kInfo, "finished");
}

void StatusBoard::AddRow(const MetricsRow& row) {
  const double now = options_.clock->MonotonicSeconds();
  absl::MutexLock lock(&mutex_);
  metrics_.AddRow(row);
  moved_ = now;
}

void StatusBoard::RestoreRows(const std::vector<MetricsRow>& rows) {
  absl::MutexLock lock(&mutex_);
  R1_CHECK(metrics_.rows() == 0);
  for (const MetricsRow& row : rows) metrics_.AddRow(row);
}

void StatusBoard::AddSamples(std::vector<v1::SampleRecord> records) {
  absl::MutexLock lock(&mutex_);
  for (const v1::SampleRecord& record : records) {
    ++totals_.samples;
    totals_.masked_samples += record.masked() ? 1 : 0;
    totals_.generated_tokens += record.tokens();
    totals_.response_tokens.Observe(record.tokens());
    for (const v1::RewardPart& part : record.parts()) {
      if (!IsRewardError(part.reason())) continue;
      CountBounded(totals_.reward_errors, {part.name(), part.reason()}, {"other", "other"});
    }
  }
  samples_.Add(std::move(records));
}

void StatusBoard::AddEvent(LogLevel level, absl::string_view text) {
  absl::MutexLock lock(&mutex_);
  AddEventLocked(level, text);
}

void StatusBoard::AddEventLocked(LogLevel level, absl::string_view text) {
  v1::Event& event = events_.emplace_back();
  event.set_id(++last_event_id_);
  event.set_unix_seconds(options_.clock->UnixSeconds());
  event.set_level(LevelName(level));
  event.set_text(ReplaceInvalidUtf8(text.substr(0, kEventBytesMax)));
  while (events_.size() > options_.events_max) events_.pop_front();
}

void StatusBoard::CountNonfinite(const std::string& where) {
  absl::MutexLock lock(&mutex_);
  CountBounded(totals_.nonfinite, where, std::string("other"));
}

void StatusBoard::RecordCheckpoint(const std::string& name, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  totals_.checkpoint_unix_seconds = options_.clock->UnixSeconds();
  ++totals_.checkpoints;
  totals_.checkpoint_bytes += bytes;
  AddEventLocked(LogLevel::kInfo,
                 absl::StrFormat("checkpoint %s, %.1f MB", name, static_cast<double>(bytes) / 1e6));
}

uint64_t StatusBoard::BeginPhase(const std::string& name) {
  const double now = options_.clock->MonotonicSeconds();
  absl::MutexLock lock(&mutex_);
  phases_.push_back({.id = next_phase_id_, .name = name, .started = now});
  moved_ = now;
  return next_phase_id_++;
}

void StatusBoard::EndPhase(uint64_t id) {
  const double now = options_.clock->MonotonicSeconds();
  absl::MutexLock lock(&mutex_);
  const auto phase = std::find_if(phases_.begin(), phases_.end(),
                                  [id](const Phase& candidate) { return candidate.id == id; });
  R1_CHECK(phase != phases_.end());
  totals_.phase_seconds.emplace(phase->name, EmptyPhaseSeconds())
      .first->second.Observe(now - phase->started);
  phases_.erase(phase);
  moved_ = now;
}

LiveStatus StatusBoard::ReadLive() const {
  absl::ReaderMutexLock lock(&live_mutex_);
  LiveStatus live = live_provider_ == nullptr ? LiveStatus{} : live_provider_();
  for (v1::WorkerStatus& worker : live.workers) {
    worker.set_worker_id(ReplaceInvalidUtf8(worker.worker_id()));
    worker.set_host(ReplaceInvalidUtf8(worker.host()));
    worker.set_phase(ReplaceInvalidUtf8(worker.phase()));
  }
  std::sort(live.workers.begin(), live.workers.end(),
            [](const v1::WorkerStatus& a, const v1::WorkerStatus& b) {
              return a.worker_id() < b.worker_id();
            });
  live.awaited = ReplaceInvalidUtf8(live.awaited);
  if (live.awaited_from.size() > kAwaitedFromMax) {
    const size_t more = live.awaited_from.size() - kAwaitedFromMax;
    live.awaited_from.resize(kAwaitedFromMax);
    live.awaited_from.push_back(absl::StrCat("and ", more, " more"));
  }
  for (std::string& from : live.awaited_from) from = ReplaceInvalidUtf8(from);
  return live;
}

double StatusBoard::EtaSeconds(double now) const {
  if (step_seconds_ == 0 || run_.steps() == 0) return -1;
  const double left = static_cast<double>(std::max<int64_t>(0, run_.steps() - run_.step()));
  return std::max(0.0, left * step_seconds_ - (now - step_ended_));
}

std::string StatusBoard::NotReadyReason(const LiveStatus& live, double now) const {
  if (state_ != RunState::kRunning) {
    return absl::StrCat("the run is ", StateName(state_), run_.error().empty() ? "" : ": ",
                        run_.error());
  }
  const bool connected =
      std::any_of(live.workers.begin(), live.workers.end(),
                  [](const v1::WorkerStatus& worker) { return worker.connected(); });
  if (!live.awaited.empty() && !connected) {
    return absl::StrCat("no worker is connected; awaiting ", live.awaited);
  }
  const double still = now - std::max(moved_, awaited_since_);
  if (still <= options_.stall_seconds) return "";
  return absl::StrFormat("nothing has moved for %.0f s: phase %s%s%s%s%s", still,
                         phases_.empty() ? "none" : phases_.back().name,
                         live.awaited.empty() ? "" : ", awaiting ", live.awaited,
                         live.awaited_from.empty() ? "" : " from ",
                         absl::StrJoin(live.awaited_from, ", "));
}

v1::RunStatus StatusBoard::Status() const {
  const LiveStatus live = ReadLive();
  const double now = options_.clock->MonotonicSeconds();
  absl::MutexLock lock(&mutex_);
  if (live.awaited != awaited_) {
    awaited_ = live.awaited;
    awaited_since_ = now;
  }
  v1::RunStatus status = run_;
  status.set_state(StateName(state_));
  status.set_seconds_total(options_.seconds_before + now - started_);
  status.set_eta_seconds(EtaSeconds(now));
  if (!phases_.empty()) {
    status.set_phase(ReplaceInvalidUtf8(phases_.back().name));
    status.set_phase_seconds(now - phases_.back().started);
  }
  status.set_awaited(live.awaited);
  status.set_awaited_seconds(live.awaited.empty() ? 0 : now - awaited_since_);
  for (const std::string& from : live.awaited_from) status.add_awaited_from(from);
  for (const v1::WorkerStatus& worker : live.workers) *status.add_workers() = worker;
  for (const v1::QueueStatus& queue : live.queues) *status.add_queues() = queue;
  status.set_not_ready_reason(NotReadyReason(live, now));
  status.set_ready(status.not_ready_reason().empty());
  status.mutable_latest()->insert(metrics_.latest().begin(), metrics_.latest().end());
  status.set_metrics_rows(metrics_.rows());
  status.set_samples_total(samples_.total());
  status.set_last_event_id(last_event_id_);
  status.set_unix_seconds(options_.clock->UnixSeconds());
  return status;
}

absl::StatusOr<v1::MetricsReply> StatusBoard::Metrics(const v1::MetricsRequest& request) const {
  absl::MutexLock lock(&mutex_);
  R1_ASSIGN_OR_RETURN(v1::MetricsReply reply, metrics_.Read(request));
  reply.set_incarnation(options_.incarnation);
  return reply;
}

absl::StatusOr<v1::SamplesReply> StatusBoard::Samples(const v1::SamplesRequest& request) const {
  absl::MutexLock lock(&mutex_);
  return samples_.Read(request);
}

absl::StatusOr<v1::EventsReply> StatusBoard::Events(const v1::EventsRequest& request) const {
  if (request.since() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("events: since must not be negative, found ", request.since()));
  }
  v1::EventsReply reply;
  absl::MutexLock lock(&mutex_);
  for (const v1::Event& event : events_) {
    if (event.id() > request.since()) *reply.add_events() = event;
  }
  return reply;
}

StatusTotals StatusBoard::Totals() const {
  const LiveStatus live = ReadLive();
  absl::MutexLock lock(&mutex_);
  StatusTotals totals = totals_;
  totals.groups = live.counters;
  return totals;
}

namespace {

// The log's observer is a plain function, so the board that takes its lines is global. The lock
// makes ~LogEvents wait for a line that is on its way.
struct ObservedBoard {
  absl::Mutex mutex;
  StatusBoard* board ABSL_GUARDED_BY(mutex) = nullptr;
};

ObservedBoard& Observed() {
  static ObservedBoard* observed =
      new ObservedBoard;  // never destroyed: threads may log during exit
  return *observed;
}

}  // namespace

LogEvents::LogEvents(StatusBoard* board) {
  {
    absl::MutexLock lock(&Observed().mutex);
    R1_CHECK(Observed().board == nullptr);
    Observed().board = board;
  }
  SetLogObserver([](LogLevel level, const std::string& text) {
    absl::MutexLock lock(&Observed().mutex);
    if (Observed().board != nullptr) Observed().board->AddEvent(level, text);
  });
}

LogEvents::~LogEvents() {
  SetLogObserver(nullptr);
  absl::MutexLock lock(&Observed().mutex);
  Observed().board = nullptr;
}

}  // namespace r1::learner
