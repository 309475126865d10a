// metrics.jsonl, the source of truth of a run's curves: one JSON object a line, names as in
// docs/metrics.md. TensorBoard files, the status page and reports are made from these rows.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/filesystem.h"
#include "learner/append_file.h"

namespace r1::learner {

struct MetricsRow {
  std::string stage;
  uint32_t stage_index = 0;
  int64_t step = 0;    // of the stage
  int64_t update = 0;  // of the stage
  std::map<std::string, double> values;
};

// {"stage":"rl","step":3,"update":3,"stage_index":2,"policy/entropy":0.42,…} and a line break.
// Numbers are the shortest that read back as the same double; NaN and infinities, which JSON lacks,
// become null.
std::string FormatMetricsRow(const MetricsRow& row);

// The counterpart for one line; null becomes NaN. InvalidArgument with `where` in front.
[[nodiscard]] absl::StatusOr<MetricsRow> ParseMetricsRow(absl::string_view line,
                                                         absl::string_view where);

struct MetricsFile {
  std::vector<MetricsRow> rows;
  uint64_t bytes = 0;  // up to the end of the last whole line
  std::vector<std::string>
      warnings;  // lines that are not rows and were skipped; at most 10 are named
};

// Reads what a running or killed learner left: a torn last line and lines that are no rows are
// skipped, each with a warning. NotFound, ResourceExhausted (above 4 GiB), Unavailable.
[[nodiscard]] absl::StatusOr<MetricsFile> ReadMetrics(FileSystem& filesystem,
                                                      const std::string& path);

// Not thread-safe. Borrows the file system.
class MetricsWriter {
 public:
  // Continues the file; a torn last line is cut off.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<MetricsWriter>> Open(FileSystem& filesystem,
                                                                           const std::string& path);

  // On an error (full disk) the row is lost, and later ones are not harmed.
  [[nodiscard]] absl::Status Append(const MetricsRow& row);
  // Makes all rows durable and returns the file's size: what a checkpoint remembers. Call it before
  // the checkpoint is saved.
  [[nodiscard]] absl::StatusOr<uint64_t> Sync();

  uint64_t bytes() const { return file_->bytes(); }
  // Values so far that were NaN or infinite.
  int64_t nonfinite_values() const { return nonfinite_values_; }

 private:
  explicit MetricsWriter(std::unique_ptr<AppendFile> file) : file_(std::move(file)) {}

  std::unique_ptr<AppendFile> file_;
  int64_t nonfinite_values_ = 0;
};

}  // namespace r1::learner
