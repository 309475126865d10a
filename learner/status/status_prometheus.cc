#include "learner/status/status_prometheus.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/prometheus_text.h"

namespace r1::learner {
namespace {

constexpr auto kCounter = PrometheusType::kCounter;
constexpr auto kGauge = PrometheusType::kGauge;
constexpr auto kHistogram = PrometheusType::kHistogram;

void AddOne(PrometheusText& text, const std::string& name, PrometheusType type,
            absl::string_view help, double value) {
  text.BeginFamily(name, type, help);
  text.AddSample({}, value);
}

void AddRun(PrometheusText& text, const StatusBoard& board, const v1::RunStatus& status) {
  const StatusBoardOptions& options = board.options();
  text.BeginFamily("r1_build_info", kGauge, "Always 1; the labels say what runs.");
  text.AddSample(
      {{"version", options.version}, {"commit", options.commit}, {"torch", options.torch}}, 1);
  text.BeginFamily("r1_run_info", kGauge, "Always 1; the run, its present stage and its state.");
  text.AddSample({{"run", status.run_id()}, {"stage", status.stage()}, {"state", status.state()}},
                 1);
  AddOne(text, "r1_ready", kGauge, "1 when the run is progressing, as /readyz.", status.ready());
  AddOne(text, "r1_stage_index", kGauge, "Index of the present stage.", status.stage_index());
  AddOne(text, "r1_step", kGauge, "Steps done in the present stage.",
         static_cast<double>(status.step()));
  AddOne(text, "r1_update", kGauge, "Updates done in the present stage.",
         static_cast<double>(status.update()));
  AddOne(text, "r1_policy_version", kGauge, "Newest policy version.",
         static_cast<double>(status.policy_version()));
  AddOne(text, "r1_metrics_rows_total", kCounter, "Rows of metrics.jsonl; alert when it stands.",
         static_cast<double>(status.metrics_rows()));
  text.BeginFamily("r1_phase_age_seconds", kGauge, "For how long the run has been in its phase.");
  if (!status.phase().empty()) text.AddSample({{"phase", status.phase()}}, status.phase_seconds());
  AddOne(text, "r1_awaited_age_seconds", kGauge,
         "For how long what is awaited has not changed; 0 when nothing is.",
         status.awaited_seconds());
}

void AddWorkers(PrometheusText& text, const v1::RunStatus& status) {
  uint64_t lag_max = 0;
  int connected = 0;
  for (const v1::WorkerStatus& worker : status.workers()) {
    if (!worker.connected()) continue;
    ++connected;
    lag_max = std::max(lag_max, worker.lag());
  }
  AddOne(text, "r1_workers_connected", kGauge, "Rollout workers that are heard of.", connected);
  AddOne(text, "r1_policy_lag_steps", kGauge, "Versions that the most outdated worker is behind.",
         static_cast<double>(lag_max));
  text.BeginFamily("r1_worker_generated_tokens_per_second", kGauge, "Tokens a worker generates.");
  for (const v1::WorkerStatus& worker : status.workers()) {
    if (worker.connected())
      text.AddSample({{"worker", worker.worker_id()}}, worker.tokens_per_second());
  }
  text.BeginFamily("r1_worker_kv_used_ratio", kGauge, "Share of a worker's KV cache in use.");
  for (const v1::WorkerStatus& worker : status.workers()) {
    if (worker.connected()) text.AddSample({{"worker", worker.worker_id()}}, worker.kv_used_frac());
  }
  text.BeginFamily("r1_queue_depth", kGauge, "Entries in a queue.");
  for (const v1::QueueStatus& queue : status.queues()) {
    text.AddSample({{"queue", queue.name()}}, static_cast<double>(queue.size()));
  }
  text.BeginFamily("r1_queue_limit", kGauge, "Entries that a queue takes at most.");
  for (const v1::QueueStatus& queue : status.queues()) {
    text.AddSample({{"queue", queue.name()}}, static_cast<double>(queue.limit()));
  }
}

void AddTotals(PrometheusText& text, const StatusTotals& totals) {
  text.BeginFamily("r1_groups_total", kCounter, "Groups by what became of them.");
  text.AddSample({{"outcome", "trained"}}, static_cast<double>(totals.groups.trained()));
  text.AddSample({{"outcome", "expired"}}, static_cast<double>(totals.groups.expired()));
  text.AddSample({{"outcome", "filtered"}}, static_cast<double>(totals.groups.filtered()));
  text.AddSample({{"outcome", "failed"}}, static_cast<double>(totals.groups.failed()));
  text.AddSample({{"outcome", "evaluated"}}, static_cast<double>(totals.groups.evaluated()));
  AddOne(text, "r1_samples_total", kCounter, "Scored samples received by this process.",
         static_cast<double>(totals.samples));
  AddOne(text, "r1_samples_masked_total", kCounter, "Samples that could not be judged.",
         static_cast<double>(totals.masked_samples));
  AddOne(text, "r1_generated_tokens_total", kCounter, "Response tokens of the scored samples.",
         static_cast<double>(totals.generated_tokens));
  text.BeginFamily("r1_response_length_tokens", kHistogram, "Length of the scored responses.");
  text.AddHistogram({}, totals.response_tokens);
  text.BeginFamily("r1_step_duration_seconds", kHistogram, "Length of the phases of a step.");
  for (const auto& [phase, seconds] : totals.phase_seconds) {
    text.AddHistogram({{"phase", phase}}, seconds);
  }
  text.BeginFamily("r1_reward_errors_total", kCounter, "Reward parts that could not be computed.");
  for (const auto& [labels, count] : totals.reward_errors) {
    text.AddSample({{"reward", labels.first}, {"reason", labels.second}},
                   static_cast<double>(count));
  }
  text.BeginFamily("r1_nonfinite_total", kCounter, "NaN or infinity, kept from the weights.");
  for (const auto& [where, count] : totals.nonfinite) {
    text.AddSample({{"where", where}}, static_cast<double>(count));
  }
  AddOne(text, "r1_checkpoint_last_success_timestamp_seconds", kGauge,
         "Unix time of the last complete checkpoint of this process; 0 when there is none.",
         totals.checkpoint_unix_seconds);
  AddOne(text, "r1_checkpoints_total", kCounter, "Complete checkpoints of this process.",
         static_cast<double>(totals.checkpoints));
  AddOne(text, "r1_checkpoint_bytes_total", kCounter, "Bytes of these checkpoints.",
         static_cast<double>(totals.checkpoint_bytes));
}

// "reward/mean" is the whole reward, "reward/<name>/mean" a part.
void AddLatest(PrometheusText& text, const v1::RunStatus& status) {
  const std::map<std::string, double> latest(status.latest().begin(), status.latest().end());
  text.BeginFamily("r1_reward_mean", kGauge, "Mean reward of the last step, whole and by part.");
  for (const auto& [key, value] : latest) {
    absl::string_view name = key;
    if (key == "reward/mean") {
      text.AddSample({{"reward", "total"}}, value);
    } else if (absl::ConsumePrefix(&name, "reward/") && absl::ConsumeSuffix(&name, "/mean")) {
      text.AddSample({{"reward", std::string(name)}}, value);
    }
  }
  text.BeginFamily("r1_metric", kGauge,
                   "Newest value of every key of metrics.jsonl in the present stage.");
  for (const auto& [key, value] : latest) text.AddSample({{"key", key}}, value);
}

// What Prometheus' own client libraries export about a process, from /proc.
void AddProcess(PrometheusText& text) {
  std::ifstream stat_file("/proc/self/stat");
  std::string stat((std::istreambuf_iterator<char>(stat_file)), std::istreambuf_iterator<char>());
  // The second field is the program's name in parentheses and may hold anything.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return;
  const std::vector<std::string> fields =
      absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
  // proc(5) counts from 1 and these begin with the third: utime 14, stime 15, num_threads 20, rss
  // 24.
  constexpr size_t kFirst = 3;
  uint64_t user_ticks = 0, system_ticks = 0, threads = 0, resident_pages = 0;
  if (fields.size() <= 24 - kFirst || !absl::SimpleAtoi(fields[14 - kFirst], &user_ticks) ||
      !absl::SimpleAtoi(fields[15 - kFirst], &system_ticks) ||
      !absl::SimpleAtoi(fields[20 - kFirst], &threads) ||
      !absl::SimpleAtoi(fields[24 - kFirst], &resident_pages)) {
    return;
  }
  AddOne(
      text, "process_cpu_seconds_total", kCounter, "CPU time of the learner.",
      static_cast<double>(user_ticks + system_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)));
  AddOne(text, "process_resident_memory_bytes", kGauge, "Resident memory of the learner.",
         static_cast<double>(resident_pages) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  AddOne(text, "process_threads", kGauge, "Threads of the learner.", static_cast<double>(threads));
}

}  // namespace

std::string StatusToPrometheus(const StatusBoard& board) {
  const v1::RunStatus status = board.Status();
  PrometheusText text;
  AddRun(text, board, status);
  AddWorkers(text, status);
  AddTotals(text, board.Totals());
  AddLatest(text, status);
  AddProcess(text);
  return text.Finish();
}

}  // namespace r1::learner
