// Serves the status page of a run that never was: three stages, 400 rows, two workers and one lost,
// samples of the chain task and some that a hostile model might write. For
// tests/peer/dashboard_test.py and for work on the dashboard.
//
//   status_demo [--incarnation N] [--address HOST:PORT]
// prints its URL. Lines on stdin: "step" adds a row, samples and an event; "fail" ends the run in
// failure. End of file ends the program.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/rng.h"
#include "learner/status/status_board.h"
#include "learner/status/status_routes.h"

namespace r1::learner {
namespace {

constexpr char kConfig[] = R"([run]
seed = 1
dir = "runs/r1_mini-s1"
[model]
preset = "moe_mini"
[rollout]
workers = 2

[[stage]]
name = "rl"
kind = "grpo"
grpo.prompts_per_step = 64
grpo.samples_per_prompt = 8
grpo.kl_coef = 0.0
)";

// The machine's clock, put forward by what the steps would have taken. Thread-safe.
class SteppedClock : public Clock {
 public:
  double MonotonicSeconds() const override { return RealClock().MonotonicSeconds() + ahead_; }
  double UnixSeconds() const override {
    return RealClock().UnixSeconds() + ahead_ - kSecondsAtStart;
  }
  void Advance(double seconds) { ahead_ = ahead_ + seconds; }

 private:
  static constexpr double kSecondsAtStart = 400;  // so that the first page shows the present time
  std::atomic<double> ahead_ = 0;
};

class Demo {
 public:
  explicit Demo(uint64_t incarnation)
      : board_({.run_id = "3f9c2a",
                .incarnation = incarnation,
                .run_dir = "runs/r1_mini-s1",
                .build = "r1 0.1.0 (demo)",
                .version = "0.1.0",
                .commit = "demo",
                .torch = "2.11.0",
                .config_toml = kConfig,
                .stages = 3,
                .seconds_before = 0,
                .stall_seconds = 300,
                .clock = &clock_,
                .metrics = {},
                .samples_bytes_max = size_t{32} << 20,
                .events_max = 1000}),
        rng_(1, 0, RngPurpose::kTest, 0, 0) {
    board_.SetLiveProvider([] { return Live(); });
    Pretrain();
    ColdStart();
    board_.BeginStage("rl", 2, 0, 350);
    AddHostileSamples();
    while (step_ < 212) Step();
    board_.SetPolicyVersion(212);
    board_.RecordCheckpoint("02_rl_step_000200", 5'120'000);
    board_.AddEvent(LogLevel::kWarning,
                    "worker-3 was not heard of for 10.0 s: its 4 leases go back");
  }

  StatusBoard& board() { return board_; }

  // One step of GRPO on a curve that rises, with the noise of a real run.
  void Step() {
    const double t = static_cast<double>(step_) / 350;
    const double skill = 0.46 + 0.5 / (1 + std::exp(-12 * (t - 0.27)));
    MetricsRow row = Row("rl", 2, step_, step_);
    auto& v = row.values;
    const double accuracy = std::min(1.0, skill + Noise(0.022));
    const double format = 1 - 0.16 * std::exp(-14 * t) + Noise(0.004);
    v["reward/exact_match/mean"] = accuracy;
    v["reward/format/mean"] = std::min(1.0, format);
    v["reward/mean"] = 0.9 * accuracy + 0.1 * std::min(1.0, format);
    v["reward/std"] = std::sqrt(accuracy * (1 - accuracy)) * 0.9;
    v["group/zero_std_frac"] = std::min(1.0, 0.1 + 0.75 * skill * skill + Noise(0.03));
    v["length/mean"] = 27.5 + 6 * (1 - std::exp(-9 * t)) + Noise(0.35);
    v["length/p50"] = std::floor(v["length/mean"] - 0.5);
    v["length/p95"] = v["length/mean"] + 11 + Noise(0.8);
    v["length/truncated_frac"] = std::max(0.0, 0.012 * std::exp(-10 * t) + Noise(0.001));
    v["format/think_closed_frac"] = std::min(1.0, format + 0.01);
    v["format/answer_found_frac"] = std::min(1.0, format);
    v["policy/entropy"] = 0.05 + 0.3 * std::exp(-5 * t) + Noise(0.008);
    v["policy/kl_ref"] = 0.055 * (1 - std::exp(-6 * t)) + std::abs(Noise(0.0015));
    v["policy/ratio_max"] = 1 + std::abs(Noise(0.02));
    v["policy/clip_low_frac"] = std::abs(Noise(0.0006));
    v["policy/clip_high_frac"] = std::abs(Noise(0.0009));
    v["mismatch/kl"] = 1.1e-13 * std::exp(Noise(0.6));
    v["mismatch/logprob_abs_mean"] = 2.1e-7 * std::exp(Noise(0.15));
    v["mismatch/prob_diff_max"] = 4.2e-6 * std::exp(Noise(0.4));
    v["optim/grad_norm"] = 0.25 + 0.5 * std::exp(-4 * t) + std::abs(Noise(0.08));
    v["optim/lr"] = t < 0.5 ? 6e-4 : 6e-4 * (1 - 1.8 * (t - 0.5));
    v["lag/mean"] = 0;
    v["lag/max"] = 0;
    AddPerformance(v, 0.62 - 0.2 * t);
    board_.AddRow(row);
    if (step_ % 25 == 0) AddEvaluation("rl", 2, step_, skill, 1 - 0.16 * std::exp(-14 * t));
    AddStepSamples(skill);
    clock_.Advance(1.02 - 0.2 * t);
    board_.SetProgress(step_ + 1, step_ + 1);
    ++step_;
  }

 private:
  static LiveStatus Live() {
    LiveStatus live;
    const double now = RealClock().MonotonicSeconds();
    const auto add = [&](const char* id, int64_t pid, double speed, bool connected) {
      v1::WorkerStatus& worker = live.workers.emplace_back();
      worker.set_worker_id(id);
      worker.set_host("mallard");
      worker.set_pid(pid);
      worker.set_policy_version(connected ? 212 : 187);
      worker.set_lag(connected ? 0 : 25);
      worker.set_tokens_per_second(speed);
      worker.set_last_seen_seconds(connected ? std::fmod(now, 1.0) : 74);
      worker.set_phase(connected ? "generating" : "");
      worker.set_leased_groups(connected ? 6 : 0);
      worker.set_running_samples(connected ? 48 : 0);
      worker.set_generated_tokens_total(connected ? 1'912'400 : 402'113);
      worker.set_kv_used_frac(connected ? 0.38 : 0);
      worker.set_connected(connected);
    };
    add("worker-1", 41207, 30940, true);
    add("worker-2", 41208, 29870, true);
    add("worker-3", 39950, 0, false);
    const auto queue = [&](const char* name, uint64_t size, uint64_t limit) {
      v1::QueueStatus& status = live.queues.emplace_back();
      status.set_name(name);
      status.set_size(size);
      status.set_limit(limit);
    };
    queue("accepted_groups", 52, 1024);
    queue("pending_leases", 0, 1024);
    live.awaited = "12 of 64 groups of step 212";
    live.awaited_from = {"worker-1", "worker-2"};
    live.counters.set_trained(13'312);
    live.counters.set_expired(4);
    live.counters.set_filtered(256);
    return live;
  }

  void Pretrain() {
    board_.BeginStage("base", 0, 0, 0);
    for (int i = 0; i < 150; ++i) {
      const double t = i / 150.0;
      MetricsRow row = Row("base", 0, i * 16, i * 16);
      row.values["loss/mean"] = 0.31 + 2.6 * std::exp(-9 * t) + Noise(0.015);
      row.values["optim/grad_norm"] = 0.5 + 1.4 * std::exp(-8 * t) + std::abs(Noise(0.07));
      row.values["optim/lr"] = 3e-3 * std::min(1.0, (i + 1) / 3.0) * (t < 0.85 ? 1 : 0.4);
      row.values["perf/train_tokens_per_second"] = 61'000 + Noise(900);
      row.values["moe/load_max_over_mean"] = 1.05 + 1.2 * std::exp(-16 * t) + std::abs(Noise(0.03));
      board_.AddRow(row);
      clock_.Advance(1.1);
    }
    AddEvaluation("base", 0, 2400, 0.07, 0.26);
  }

  void ColdStart() {
    board_.BeginStage("cold_start", 1, 0, 30);
    for (int i = 0; i < 38; ++i) {
      MetricsRow row = Row("cold_start", 1, i, i);
      row.values["loss/mean"] = 0.12 + 0.55 * std::exp(-i / 7.0) + Noise(0.008);
      row.values["optim/grad_norm"] = 0.4 + std::exp(-i / 6.0) + std::abs(Noise(0.05));
      row.values["optim/lr"] = 5e-4 * std::min(1.0, (i + 1) / 20.0);
      row.values["perf/train_tokens_per_second"] = 58'000 + Noise(900);
      row.values["moe/load_max_over_mean"] = 1.2 + std::abs(Noise(0.03));
      board_.AddRow(row);
    }
    AddEvaluation("cold_start", 1, 38, 0.48, 0.87);
  }

  void AddPerformance(std::map<std::string, double>& v, double generate) {
    v["time/generate"] = generate + std::abs(Noise(0.03));
    v["time/score"] = 0.01 + std::abs(Noise(0.002));
    v["time/wait"] = 0.04 + std::abs(Noise(0.02));
    v["time/train"] = 0.34 + std::abs(Noise(0.02));
    v["time/publish"] = 0.015 + std::abs(Noise(0.003));
    v["time/unaccounted"] = 0.006 + std::abs(Noise(0.002));
    v["time/step"] = 0;
    for (const auto& [key, seconds] : v) {
      if (key.rfind("time/", 0) == 0 && key != "time/step") v["time/step"] += seconds;
    }
    v["time/worker_generate_max"] = generate;
    v["time/worker_score"] = 0.02;
    v["perf/gen_tokens_per_second"] = 60'500 + Noise(1500);
    v["perf/train_tokens_per_second"] = 33'100 + Noise(700);
    v["mem/kv_used_frac"] = 0.36 + Noise(0.02);
    v["moe/load_max_over_mean"] = 1.22 + std::abs(Noise(0.04));
    v["moe/load_min_over_mean"] = 0.79 - std::abs(Noise(0.03));
    v["moe/entropy"] = 1.98 + Noise(0.006);
    v["moe/dropped_frac"] = 0;
    v["moe/flip_frac"] = 0;
  }

  void AddEvaluation(const char* stage, uint32_t index, int64_t step, double skill, double format) {
    MetricsRow row = Row(stage, index, step, step);
    const double half = 1.96 * std::sqrt(skill * (1 - skill) / 512);
    row.values["eval/chain/pass@1"] = skill;
    row.values["eval/chain/pass@1_low"] = skill - half;
    row.values["eval/chain/pass@1_high"] = std::min(1.0, skill + half);
    row.values["eval/chain/greedy"] = std::min(1.0, skill + 0.12 * (1 - skill));
    row.values["eval/chain/format_frac"] = format;
    row.values["eval/chain/length_mean"] = 12 + 22 * std::min(1.0, skill + 0.3);
    row.values["eval/chain/samples"] = 512;
    // A set that later evaluations leave out, as stages with dev sets of their own do.
    if (std::string(stage) == "base") row.values["eval/before/pass@1"] = skill;
    board_.AddRow(row);
  }

  // Groups of the chain task, right more often the better the skill.
  void AddStepSamples(double skill) {
    std::vector<v1::SampleRecord> records;
    for (int group = 0; group < 4; ++group) {
      std::string prompt;
      const std::vector<std::string> lines = Chain(prompt);
      const std::string answer = lines.back().substr(lines.back().find('=') + 1);
      for (uint32_t i = 0; i < 8; ++i) {
        const bool right = rng_.NextUniform() < skill;
        const bool formatted = right || rng_.NextUniform() < 0.8;
        v1::SampleRecord& record = NewRecord(records, prompt, answer, i);
        const std::string given = right ? answer : std::to_string(rng_.NextBelow(30));
        std::string text = "<think>";
        for (size_t k = 0; k < lines.size(); ++k) absl::StrAppend(&text, k ? "\n" : "", lines[k]);
        absl::StrAppend(&text, "</think>", formatted ? "<answer>" : "", given,
                        formatted ? "</answer>" : "");
        const bool match = formatted && given == answer;
        Score(record, text, match ? 0.9 : 0,
              match       ? "match"
              : formatted ? "mismatch"
                          : "no_answer",
              formatted ? 0.1 : 0, formatted ? "match" : "bad_format");
      }
    }
    Advantages(records);
    board_.AddSamples(std::move(records));
  }

  void AddHostileSamples() {
    std::vector<v1::SampleRecord> records;
    const std::pair<const char*, std::string> hostile[] = {
        {"script", "<script>window.pwned = 1</script><img src=x onerror=\"window.pwned=2\">"},
        {"link", "<a href=\"javascript:window.pwned=3\">x</a><iframe src=//evil.example></iframe>"},
        {"reading direction",
         "\u202Eabc\u202C \u0627\u0644\u062C\u0648\u0627\u0628 \u0647\u0648 17"},
        {"invalid bytes", "<think>\xFF\xFE\xC0\x80 caf\xE9</think>\x01\x1B[31mred"},
        {"one long line", "<think>" + std::string(90'000, 'x') + "</think>"},
    };
    uint32_t i = 0;
    for (const auto& [name, text] : hostile) {
      v1::SampleRecord& record =
          NewRecord(records, "hostile <b>prompt</b> & \"quotes\"", "<i>17</i>", i++);
      Score(record, absl::StrCat(name, ": ", text), 0, "<b>no_answer</b>", 0, "bad_format");
    }
    Advantages(records);
    board_.AddSamples(std::move(records));
  }

  v1::SampleRecord& NewRecord(std::vector<v1::SampleRecord>& records, const std::string& prompt,
                              const std::string& answer, uint32_t index) {
    if (index == 0) ++group_;
    v1::SampleRecord& record = records.emplace_back();
    record.set_stage("rl");
    record.set_step(step_);
    record.set_group_id(group_);
    record.set_purpose("train");
    record.set_prompt(prompt);
    record.set_answer(answer);
    record.set_sample_index(index);
    record.set_policy_version(static_cast<uint64_t>(step_));
    record.set_finish_reason(v1::FINISH_REASON_STOP);
    return record;
  }

  static void Score(v1::SampleRecord& record, const std::string& text, double match,
                    const std::string& match_reason, double format,
                    const std::string& format_reason) {
    record.set_text(text);
    record.set_tokens(static_cast<uint32_t>(text.size()));
    record.set_reward(match + format);
    v1::RewardPart& first = *record.add_parts();
    first.set_name("exact_match");
    first.set_value(match > 0 ? 1 : 0);
    first.set_reason(match_reason);
    v1::RewardPart& second = *record.add_parts();
    second.set_name("format");
    second.set_value(format > 0 ? 1 : 0);
    second.set_reason(format_reason);
  }

  // Group-normalised, over groups of equal size that stand together.
  static void Advantages(std::vector<v1::SampleRecord>& records) {
    for (size_t begin = 0; begin < records.size();) {
      size_t end = begin;
      double sum = 0, squares = 0;
      for (; end < records.size() && records[end].group_id() == records[begin].group_id(); ++end) {
        sum += records[end].reward();
        squares += records[end].reward() * records[end].reward();
      }
      const double mean = sum / static_cast<double>(end - begin);
      const double variance = squares / static_cast<double>(end - begin) - mean * mean;
      for (; begin < end; ++begin) {
        records[begin].set_advantage((records[begin].reward() - mean) /
                                     (std::sqrt(std::max(0.0, variance)) + 1e-6));
      }
    }
  }

  // "7+5-3=" and its lines "7+5=12", "12-3=9".
  std::vector<std::string> Chain(std::string& prompt) {
    int value = 1 + static_cast<int>(rng_.NextBelow(9));
    prompt = std::to_string(value);
    std::vector<std::string> lines;
    const int count = 3 + static_cast<int>(rng_.NextBelow(3));
    while (static_cast<int>(lines.size()) < count) {
      const int operand = 1 + static_cast<int>(rng_.NextBelow(9));
      const bool plus = value - operand < 0 || (value + operand <= 30 && rng_.NextBelow(2) == 0);
      const int next = plus ? value + operand : value - operand;
      lines.push_back(absl::StrCat(value, plus ? "+" : "-", operand, "=", next));
      absl::StrAppend(&prompt, plus ? "+" : "-", operand);
      value = next;
    }
    prompt += "=";
    return lines;
  }

  static MetricsRow Row(const char* stage, uint32_t index, int64_t step, int64_t update) {
    return {.stage = stage, .stage_index = index, .step = step, .update = update, .values = {}};
  }

  // Roughly normal: the sum of twelve uniforms.
  double Noise(double deviation) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += rng_.NextUniform();
    return deviation * sum;
  }

  SteppedClock clock_;
  StatusBoard board_;
  Rng rng_;
  int64_t step_ = 0;
  uint64_t group_ = 0;
};

int Main(int argc, char** argv) {
  uint64_t incarnation = 1;
  std::string address = "127.0.0.1:0";
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--incarnation" && absl::SimpleAtoi(argv[i + 1], &incarnation)) continue;
    if (flag != "--address") {
      std::fprintf(stderr, "usage: status_demo [--incarnation N] [--address HOST:PORT]\n");
      return 2;
    }
    address = argv[i + 1];
  }
  Demo demo(incarnation);
  const auto server = StartStatusServer(address, demo.board());
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", std::string(server.status().message()).c_str());
    return 3;
  }
  std::printf("http://%s/\n", (*server)->address().c_str());
  std::fflush(stdout);
  const PhaseScope phase(&demo.board(), "generate");
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "step") demo.Step();
    if (line == "fail")
      demo.board().SetState(RunState::kFailed, "the loss was NaN <b>three</b> times");
  }
  return 0;
}

}  // namespace
}  // namespace r1::learner

int main(int argc, char** argv) { return r1::learner::Main(argc, argv); }
