// The samples of an evaluation on disk: samples.jsonl in its folder, a row a sample, appended as
// samples are scored, so that an evaluation that was stopped or killed goes on where it was. A row
// that a kill tore is cut off; of two rows of one sample the later one counts. A finished
// evaluation has them sorted.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cli/evaluation/sample_source.h"
#include "common/status.h"
#include "learner/append_file.h"

namespace r1::cli {

struct RewardScore {
  std::string name;
  std::optional<double> value;  // none when the reward could not judge
  std::string reason;
};

struct ScoredSample {
  RawSample raw;
  std::string problem_id = {};
  std::vector<RewardScore> scores = {};  // in the suite's order
  std::string extracted = {};            // what the first reward judged
  std::string error =
      {};  // what failed while it was scored; the sample is scored again the next time
};

using ScoredSamples = std::map<SampleId, ScoredSample>;

// Thread-safe.
class SampleLog {
 public:
  // Reads what is there. DataLoss names the line that is no such row.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SampleLog>> Open(const std::string& folder);

  [[nodiscard]] absl::Status Append(ScoredSample sample);
  // Writes the rows in the order of their samples, each once, unless the file has them so.
  [[nodiscard]] absl::Status Sort();
  // Not while others append.
  const ScoredSamples& samples() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return samples_; }

 private:
  explicit SampleLog(const std::string& path) : path_(path) {}
  absl::Status Read();
  void Keep(ScoredSample sample) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  absl::Mutex mutex_;
  ScoredSamples samples_ ABSL_GUARDED_BY(mutex_);
  bool is_sorted_ ABSL_GUARDED_BY(mutex_) = true;  // the file
  std::unique_ptr<learner::AppendFile> file_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::cli
