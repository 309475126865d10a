// What `r1 run` shows while a run goes on: a line a step from metrics.jsonl and, on a terminal, a
// progress bar in place with phase and remaining time. Piped: plain lines; with JSON: the rows
// themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "learner/metrics.h"
#include "proto/config.pb.h"
#include "proto/status.pb.h"

namespace r1::cli {

enum class ProgressStyle { kTerminal, kPlain, kJson };

// One line for people; empty when the row says nothing that they wait for (most pre-training
// updates).
std::string FormatProgressLine(const learner::MetricsRow& row, const v1::Config& config);
// "rl [#####-----] 120/350  eta 1m32s  generate 0.2 s: 12 of 64 groups".
std::string FormatProgressBar(const v1::RunStatus& status);
// "1h02m", "1m32s", "8s".
std::string FormatDuration(double seconds);

// Not thread-safe.
class Progress {
 public:
  // Rows of metrics.jsonl are shown from `offset` bytes on.
  Progress(const v1::Config& config, const std::string& metrics_path, uint64_t offset,
           ProgressStyle style, std::ostream& out);
  ~Progress();

  // Shows what is new.
  void Update(const std::optional<v1::RunStatus>& status);
  // Removes the bar, as before an error message.
  void ClearBar();

 private:
  const v1::Config& config_;
  const std::string metrics_path_;
  uint64_t offset_;
  const ProgressStyle style_;
  std::ostream& out_;
  std::string partial_line_;
  bool bar_shown_ = false;
};

}  // namespace r1::cli
