// What people may see of the run, in memory: the learner writes it as it goes along, the HTTP and
// gRPC services read it.
//
// Thread-safe. Writers never wait for a reader's I/O: a reader copies what it needs under the lock
// and formats it later. Everything is bounded; text from models and peers becomes valid UTF-8 on
// the way in.
//
//   StatusBoard board(options);
//   board.SetLiveProvider([&pool] { return LiveStatus{.workers = pool.workers(), …}; });
//   board.BeginStage("rl", 2, 0, 350);
//   {
//     PhaseScope phase(&board, "generate");
//     …                                        // the page says "generate, for 3.1 s"
//   }
//   board.AddRow(row); board.AddSamples(records); board.SetProgress(step + 1, update);
//   board.SetLiveProvider(nullptr);            // before the pool goes
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/prometheus_text.h"
#include "common/status.h"
#include "learner/metrics.h"
#include "learner/status/metric_history.h"
#include "learner/status/sample_ring.h"
#include "proto/checkpoint.pb.h"
#include "proto/status.pb.h"

namespace r1::learner {

enum class RunState { kStarting, kRunning, kFinished, kFailed, kPreempted };

// The parts of the status that live elsewhere and are asked for at each reading.
struct LiveStatus {
  std::vector<v1::WorkerStatus> workers;
  std::vector<v1::QueueStatus> queues;
  std::string awaited;                    // "12 of 64 groups of step 31"; empty = nothing
  std::vector<std::string> awaited_from;  // worker ids, "rank 1", "no worker connected"
  v1::GroupCounters counters;
};
// Called from any thread, at any time until it is replaced; must not block for long nor call the
// board.
using LiveProvider = std::function<LiveStatus()>;

struct StatusBoardOptions {
  std::string run_id;
  uint64_t incarnation = 0;
  std::string run_dir;
  std::string build;    // `r1 version`, one line
  std::string version;  // labels of r1_build_info
  std::string commit;
  std::string torch;
  std::string config_toml;  // resolved
  uint32_t stages = 0;
  double seconds_before = 0;  // wall-clock time of earlier attempts
  // The run counts as stalled when nothing has moved for so long: no row, no phase, nothing awaited
  // has come.
  double stall_seconds = 300;
  const Clock* clock = &RealClock();
  MetricHistory::Limits metrics;
  size_t samples_bytes_max = size_t{32} << 20;
  size_t events_max = 1000;
};

// Counts for Prometheus that need more than the newest value.
struct StatusTotals {
  PrometheusHistogram response_tokens{
      {16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}};
  std::map<std::string, PrometheusHistogram> phase_seconds;
  uint64_t samples = 0;
  uint64_t masked_samples = 0;
  uint64_t generated_tokens = 0;                                          // of scored samples
  std::map<std::pair<std::string, std::string>, uint64_t> reward_errors;  // by reward, reason
  std::map<std::string, uint64_t> nonfinite;                              // by where
  double checkpoint_unix_seconds = 0;
  uint64_t checkpoints = 0;
  uint64_t checkpoint_bytes = 0;
  v1::GroupCounters groups;
};

class StatusBoard {
 public:
  explicit StatusBoard(StatusBoardOptions options);
  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;

  // --- Writing ---

  // When this returns, the provider before is no longer running and will not be called again. May
  // be null.
  void SetLiveProvider(LiveProvider provider);
  // The run is in this stage now, with first_step of its `steps` done (0 = open-ended).
  void BeginStage(const std::string& name, uint32_t index, int64_t first_step, int64_t steps);
  // Steps and updates of the stage that are done.
  void SetProgress(int64_t step, int64_t update);
  void SetPolicyVersion(uint64_t version);
  // kFailed and kPreempted also leave an event.
  void SetState(RunState state, const std::string& error = "");
  // A row of metrics.jsonl, in the order of the file; see MetricHistory.
  void AddRow(const MetricsRow& row);
  // Rows of earlier attempts, from ReadMetrics, once metrics.jsonl has been cut back. Before the
  // first AddRow.
  void RestoreRows(const std::vector<MetricsRow>& rows);
  // Scored samples, the records of one group together.
  void AddSamples(std::vector<v1::SampleRecord> records);
  void AddEvent(LogLevel level, absl::string_view text);
  void CountNonfinite(const std::string& where);
  // A complete checkpoint was committed; also an event.
  void RecordCheckpoint(const std::string& name, uint64_t bytes);

  // --- Reading ---

  v1::RunStatus Status() const;
  // InvalidArgument as MetricHistory::Read and SampleRing::Read.
  [[nodiscard]] absl::StatusOr<v1::MetricsReply> Metrics(const v1::MetricsRequest& request) const;
  [[nodiscard]] absl::StatusOr<v1::SamplesReply> Samples(const v1::SamplesRequest& request) const;
  // InvalidArgument when since is negative.
  [[nodiscard]] absl::StatusOr<v1::EventsReply> Events(const v1::EventsRequest& request) const;
  const std::string& config_toml() const { return options_.config_toml; }
  const StatusBoardOptions& options() const { return options_; }
  StatusTotals Totals() const;

 private:
  friend class PhaseScope;
  struct Phase {
    uint64_t id;
    std::string name;
    double started;
  };
  uint64_t BeginPhase(const std::string& name);
  void EndPhase(uint64_t id);

  LiveStatus ReadLive() const;
  void AddEventLocked(LogLevel level, absl::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Empty when the run progresses.
  std::string NotReadyReason(const LiveStatus& live, double now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double EtaSeconds(double now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const StatusBoardOptions options_;
  const double started_;

  // Never held together with mutex_: the provider takes locks of its own.
  mutable absl::Mutex live_mutex_;
  LiveProvider live_provider_ ABSL_GUARDED_BY(live_mutex_);

  mutable absl::Mutex mutex_;
  v1::RunStatus run_ ABSL_GUARDED_BY(mutex_);  // fields that the learner sets
  RunState state_ ABSL_GUARDED_BY(mutex_) = RunState::kStarting;
  std::vector<Phase> phases_ ABSL_GUARDED_BY(mutex_);  // innermost last
  uint64_t next_phase_id_ ABSL_GUARDED_BY(mutex_) = 1;
  double step_seconds_ ABSL_GUARDED_BY(mutex_) = 0;  // moving average; 0 = no step yet
  double step_ended_ ABSL_GUARDED_BY(mutex_) = 0;
  double moved_ ABSL_GUARDED_BY(mutex_) = 0;  // when something last moved
  MetricHistory metrics_ ABSL_GUARDED_BY(mutex_);
  SampleRing samples_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::Event> events_ ABSL_GUARDED_BY(mutex_);
  int64_t last_event_id_ ABSL_GUARDED_BY(mutex_) = 0;
  StatusTotals totals_ ABSL_GUARDED_BY(mutex_);
  // Only readers ask what is awaited, so only they can see that it has changed.
  mutable std::string awaited_ ABSL_GUARDED_BY(mutex_);
  mutable double awaited_since_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What the learner does from here to the end of the scope. Scopes nest: the innermost one shows. A
// null board is allowed, because only rank 0 has one. Thread-safe.
class PhaseScope {
 public:
  PhaseScope(StatusBoard* board, const std::string& name)
      : board_(board), id_(board == nullptr ? 0 : board->BeginPhase(name)) {}
  ~PhaseScope() {
    if (board_ != nullptr) board_->EndPhase(id_);
  }
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  StatusBoard* const board_;
  const uint64_t id_;
};

// While it lives, warnings and errors of the log become events of the board. One at a time.
// Thread-safe.
class LogEvents {
 public:
  explicit LogEvents(StatusBoard* board);
  ~LogEvents();
  LogEvents(const LogEvents&) = delete;
  LogEvents& operator=(const LogEvents&) = delete;
};

}  // namespace r1::learner
