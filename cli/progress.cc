#include "cli/progress.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace r1::cli {
namespace {

constexpr int64_t kUpdatesPerLine = 100;  // of stages whose updates take milliseconds

std::string StepOf(const learner::MetricsRow& row, const v1::Config& config) {
  const v1::StageConfig& stage = config.stage(static_cast<int>(row.stage_index));
  if (stage.has_grpo())
    return absl::StrFormat("%s %d/%d", row.stage, row.step, stage.grpo().steps());
  if (stage.has_distill())
    return absl::StrFormat("%s %d/%d", row.stage, row.step, stage.distill().steps());
  return absl::StrFormat("%s %d", row.stage, row.step);
}

void AppendValue(const learner::MetricsRow& row, const std::string& key, const char* label,
                 int digits, std::string& line) {
  const auto found = row.values.find(key);
  if (found != row.values.end())
    absl::StrAppendFormat(&line, "  %s %.*f", label, digits, found->second);
}

std::string EvalLine(const learner::MetricsRow& row) {
  std::string line;
  for (const auto& [key, value] : row.values) {
    if (!absl::StartsWith(key, "eval/") || !absl::EndsWith(key, "/pass@1")) continue;
    const std::string prefix = key.substr(0, key.size() - 6);
    absl::StrAppendFormat(&line, "  %s: sampled %.3f", prefix.substr(5, prefix.size() - 6), value);
    AppendValue(row, prefix + "greedy", "greedy", 3, line);
    AppendValue(row, prefix + "format_frac", "format", 3, line);
    AppendValue(row, prefix + "length_mean", "length", 1, line);
  }
  return line;
}

}  // namespace

std::string FormatDuration(double seconds) {
  const int64_t whole = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (whole >= 3600) return absl::StrFormat("%dh%02dm", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  return absl::StrFormat("%ds", whole);
}

std::string FormatProgressLine(const learner::MetricsRow& row, const v1::Config& config) {
  if (row.stage_index >= static_cast<uint32_t>(config.stage_size())) return "";
  const std::string eval = EvalLine(row);
  if (!eval.empty()) return absl::StrCat(StepOf(row, config), "  eval", eval);
  const v1::StageConfig& stage = config.stage(static_cast<int>(row.stage_index));
  const bool is_quick = stage.has_pretrain() || stage.has_sft();
  if (is_quick && row.step % kUpdatesPerLine != 0) return "";
  std::string line = StepOf(row, config);
  AppendValue(row, "loss/mean", "loss", 4, line);
  AppendValue(row, "reward/mean", "reward", 3, line);
  AppendValue(row, "rejection/kept_frac", "kept", 3, line);
  AppendValue(row, "length/mean", "len", 1, line);
  const auto kl = row.values.find("policy/kl_ref");
  if (kl != row.values.end() && kl->second > 0) AppendValue(row, "policy/kl_ref", "kl", 5, line);
  AppendValue(row, "policy/entropy", "entropy", 3, line);
  AppendValue(row, "group/zero_std_frac", "equal groups", 2, line);
  const auto mismatch = row.values.find("mismatch/logprob_abs_mean");
  if (mismatch != row.values.end())
    absl::StrAppendFormat(&line, "  mismatch %.1e", mismatch->second);
  const auto gen = row.values.find("perf/gen_tokens_per_second");
  if (gen != row.values.end())
    absl::StrAppendFormat(&line, "  gen %.0fk tok/s", gen->second / 1000);
  const auto train = row.values.find("perf/train_tokens_per_second");
  if (train != row.values.end())
    absl::StrAppendFormat(&line, "  train %.0fk tok/s", train->second / 1000);
  const auto step = row.values.find("time/step");
  if (step != row.values.end()) absl::StrAppendFormat(&line, "  %.2f s", step->second);
  return line;
}

std::string FormatProgressBar(const v1::RunStatus& status) {
  constexpr int kWidth = 24;
  std::string bar = status.stage().empty() ? status.state() : status.stage();
  if (status.steps() > 0) {
    const int filled =
        static_cast<int>(kWidth * std::min(status.step(), status.steps()) / status.steps());
    absl::StrAppend(&bar, " [", std::string(static_cast<size_t>(filled), '#'),
                    std::string(static_cast<size_t>(kWidth - filled), '-'), "] ", status.step(),
                    "/", status.steps());
    if (status.eta_seconds() >= 0)
      absl::StrAppend(&bar, "  eta ", FormatDuration(status.eta_seconds()));
  } else if (status.step() > 0) {
    absl::StrAppend(&bar, " ", status.step());
  }
  if (!status.phase().empty())
    absl::StrAppendFormat(&bar, "  %s %.1f s", status.phase(), status.phase_seconds());
  if (!status.awaited().empty()) absl::StrAppend(&bar, ": ", status.awaited());
  return bar;
}

Progress::Progress(const v1::Config& config, const std::string& metrics_path, uint64_t offset,
                   ProgressStyle style, std::ostream& out)
    : config_(config), metrics_path_(metrics_path), offset_(offset), style_(style), out_(out) {}

Progress::~Progress() { ClearBar(); }

void Progress::ClearBar() {
  if (!bar_shown_) return;
  out_ << "\r\033[K" << std::flush;
  bar_shown_ = false;
}

void Progress::Update(const std::optional<v1::RunStatus>& status) {
  std::ifstream file(metrics_path_, std::ios::binary);
  if (file && file.seekg(static_cast<std::streamoff>(offset_))) {
    std::string fresh((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    offset_ += fresh.size();
    partial_line_ += fresh;
    for (size_t end; (end = partial_line_.find('\n')) != std::string::npos;
         partial_line_.erase(0, end + 1)) {
      const std::string line = partial_line_.substr(0, end);
      const auto row = learner::ParseMetricsRow(line, metrics_path_);
      const std::string shown = style_ == ProgressStyle::kJson ? line
                                : row.ok()                     ? FormatProgressLine(*row, config_)
                                                               : "";
      if (shown.empty()) continue;
      ClearBar();
      out_ << shown << "\n";
    }
  }
  if (style_ == ProgressStyle::kTerminal && status) {
    ClearBar();
    out_ << FormatProgressBar(*status).substr(0, 110) << std::flush;
    bar_shown_ = true;
  }
  out_ << std::flush;
}

}  // namespace r1::cli
