#include "rewards/plugin/plugin_reward.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/wait_log.h"
#include "rewards/plugin/plugin_instance.h"

namespace r1::rewards {
namespace {

constexpr double kWaitSliceSeconds = 1;  // between two looks whether a line is due
constexpr double kPauseSecondsMin = 0.1;
constexpr double kPauseSecondsMax = 10;
constexpr int kNoInstance = -1;

// A sample on its way. Lives on the stack of the thread that waits for the score.
struct Job {
  const RewardInput* input = nullptr;
  int attempts = 0;             // that failed
  int failed_on = kNoInstance;  // the last instance that did
  bool alone = false;           // was in a batch that failed: nothing else shares its next one
  bool done = false;
  Score score;
};

class PluginReward : public Reward {
 public:
  PluginReward(v1::RewardConfig config, std::unique_ptr<PluginRoute> route)
      : config_(std::move(config)), route_(std::move(route)) {}
  ~PluginReward() override;

  Score ScoreSample(const RewardInput& input) const override;
  Range range() const override { return {plugin().score_min(), plugin().score_max()}; }
  bool deterministic() const override { return plugin().deterministic(); }
  bool stops_run_on_error() const override { return plugin().on_error() == "stop"; }

 private:
  const v1::RewardPluginConfig& plugin() const { return config_.plugin(); }
  void StartThreads() const;
  // The life of one instance after another, on a thread of its own.
  void Serve(int index) const;
  // Waits for jobs; empty when the reward closes.
  std::vector<Job*> TakeBatch(int index) const;
  bool MayTake(const Job& job, int index) const;
  // Scores or the fault of all of them.
  absl::StatusOr<std::vector<Score>> Ask(std::unique_ptr<PluginInstance>& instance,
                                         const std::vector<Job*>& batch) const;
  void Finish(const std::vector<Job*>& batch, int index,
              absl::StatusOr<std::vector<Score>> scores) const;
  void Failed(Job& job, int index, absl::string_view error) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The score's own fault, or empty.
  std::string ProblemOf(const Score& score) const;

  const v1::RewardConfig config_;
  const std::unique_ptr<PluginRoute> route_;
  mutable absl::once_flag started_;
  mutable absl::Mutex mutex_;
  mutable std::deque<Job*> queue_ ABSL_GUARDED_BY(mutex_);
  mutable bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  mutable std::vector<std::thread> threads_;
};

PluginReward::~PluginReward() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void PluginReward::StartThreads() const {
  for (int index = 0; index < plugin().instances(); ++index) {
    threads_.emplace_back([this, index] { Serve(index); });
  }
}

Score PluginReward::ScoreSample(const RewardInput& input) const {
  absl::call_once(started_, [this] { StartThreads(); });
  Job job{.input = &input, .score = {}};
  WaitLog log(RealClock());
  absl::MutexLock lock(&mutex_);
  queue_.push_back(&job);
  // Bounded by attempts times the timeouts of start and batch, for each job before this one.
  while (!mutex_.AwaitWithTimeout(absl::Condition(&job.done), absl::Seconds(kWaitSliceSeconds))) {
    log.Poll([&] { return absl::StrCat("a score from the reward plugin ", config_.name()); });
  }
  return std::move(job.score);
}

bool PluginReward::MayTake(const Job& job, int index) const {
  return job.failed_on != index || plugin().instances() == 1;
}

std::vector<Job*> PluginReward::TakeBatch(int index) const {
  std::vector<Job*> batch;
  const auto is_due = [this, index]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return closing_ || std::any_of(queue_.begin(), queue_.end(),
                                   [&](const Job* job) { return MayTake(*job, index); });
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&is_due));
  if (closing_) return batch;
  const auto batch_max = static_cast<size_t>(plugin().batch_max());
  for (auto next = queue_.begin(); next != queue_.end() && batch.size() < batch_max;) {
    Job* job = *next;
    if (!MayTake(*job, index) || (job->alone && !batch.empty())) {
      ++next;
      continue;
    }
    batch.push_back(job);
    next = queue_.erase(next);
    if (job->alone) break;
  }
  return batch;
}

void PluginReward::Serve(int index) const {
  std::unique_ptr<PluginInstance> instance;
  double pause_seconds = 0;
  for (;;) {
    const std::vector<Job*> batch = TakeBatch(index);
    if (batch.empty()) return;
    absl::StatusOr<std::vector<Score>> scores = Ask(instance, batch);
    const bool failed = !scores.ok();
    if (failed) {
      instance.reset();
      R1_LOG(kWarning) << "reward plugin " << config_.name() << ", instance " << index << ": "
                       << scores.status().message();
    }
    Finish(batch, index, std::move(scores));
    pause_seconds = failed ? std::clamp(2 * pause_seconds, kPauseSecondsMin, kPauseSecondsMax) : 0;
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&closing_), absl::Seconds(pause_seconds));
  }
}

absl::StatusOr<std::vector<Score>> PluginReward::Ask(std::unique_ptr<PluginInstance>& instance,
                                                     const std::vector<Job*>& batch) const {
  if (instance == nullptr) {
    absl::StatusOr<std::unique_ptr<PluginInstance>> started = route_->Start();
    if (!started.ok()) return Annotate(started.status(), "cannot start");
    instance = *std::move(started);
  }
  std::vector<const RewardInput*> inputs;
  for (const Job* job : batch) inputs.push_back(job->input);
  absl::StatusOr<std::vector<Score>> scores =
      instance->ScoreBatch(inputs, plugin().timeout_seconds());
  if (scores.ok()) R1_CHECK(scores->size() == batch.size());
  return scores;
}

void PluginReward::Finish(const std::vector<Job*>& batch, int index,
                          absl::StatusOr<std::vector<Score>> scores) const {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < batch.size(); ++i) {
    Job& job = *batch[i];
    if (!scores.ok() && batch.size() > 1) {
      // One of them did it. Each is tried alone, and the others have lost nothing.
      job.alone = true;
      queue_.push_front(&job);
      continue;
    }
    if (!scores.ok()) {
      Failed(job, index, scores.status().message());
      continue;
    }
    const std::string problem = ProblemOf((*scores)[i]);
    if (!problem.empty()) {
      Failed(job, index, problem);
      continue;
    }
    job.score = std::move((*scores)[i]);
    job.done = true;
  }
}

void PluginReward::Failed(Job& job, int index, absl::string_view error) const {
  ++job.attempts;
  job.failed_on = index;
  if (job.attempts < plugin().attempts()) {
    queue_.push_back(&job);
    return;
  }
  job.score = ErrorScore(kRewardError,
                         absl::StrCat("reward plugin ", config_.name(), ", after ", job.attempts,
                                      job.attempts == 1 ? " attempt: " : " attempts: ", error));
  job.done = true;
}

std::string PluginReward::ProblemOf(const Score& score) const {
  if (!score.error.empty()) return score.error;
  const Range allowed = range();
  if (score.value >= allowed.min && score.value <= allowed.max) return "";
  return absl::StrCat("expected a score from ", allowed.min, " to ", allowed.max,
                      " (plugin.score_min, plugin.score_max), found ", score.value);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Reward>> MakePluginReward(const v1::RewardConfig& config) {
  const v1::RewardPluginConfig& settings = config.plugin();
  std::vector<std::string> places;
  if (!settings.python().empty()) places.push_back("python");
  if (!settings.command().empty()) places.push_back("command");
  if (!settings.library().empty()) places.push_back("library");
  if (!settings.address().empty()) places.push_back("address");
  if (places.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("plugin: expected one of python, command, library and address, found ",
                     places.empty() ? "none" : absl::StrJoin(places, ", ")));
  }
  // The loader fills these and keeps them in range (common/config.h).
  R1_CHECK(settings.instances() >= 1 && settings.batch_max() >= 1 && settings.attempts() >= 1);
  const PluginRouteRegistry::Factory* make = PluginRouteRegistry::FindOrNull(places[0]);
  if (make == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("plugin.", places[0], ": this program was built without gRPC"));
  }
  absl::StatusOr<std::unique_ptr<PluginRoute>> route = (*make)(config);
  if (!route.ok()) return Annotate(route.status(), absl::StrCat("plugin.", places[0]));
  return std::make_unique<PluginReward>(config, *std::move(route));
}

}  // namespace r1::rewards
