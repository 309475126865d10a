// Samples from an OpenAI-compatible endpoint, so that other systems are measured by the same
// suites: one request a sample, some at a time. Busy and failing servers are asked again after
// growing waits; a server that refuses us, or keeps failing, ends the evaluation, which can go on
// later.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cli/evaluation/http_client.h"
#include "cli/evaluation/sample_source.h"
#include "common/evaluation/completion_protocol.h"
#include "common/evaluation/problems.h"
#include "common/stop_signal.h"
#include "proto/evaluation.pb.h"

namespace r1::cli {

class EndpointSource : public SampleSource {
 public:
  struct Options {
    std::string url;
    std::string model;                                // as the server calls it
    std::string api_key;                              // empty = none
    nlohmann::json extra = nlohmann::json::object();  // of every request's body
    uint64_t seed = 1;
    int concurrency = 8;
    int attempts = 6;               // of each sample
    double request_seconds = 1800;  // that an answer may take
    double retry_seconds = 1;       // before the second attempt; twice as long before each next one
  };

  // Asks nothing yet. InvalidArgument: the URL, or a key that would travel unencrypted.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EndpointSource>> Make(
      const Options& options, const v1::EvaluationSuite& suite,
      const std::vector<EvaluationProblem>& problems);

  absl::Status Generate(const std::vector<SampleId>& wanted, const OnSample& on_sample,
                        std::map<std::string, int64_t>& failures) override;
  std::string ExamplePrompt() const override;

 private:
  // One thread's request.
  struct Slot {
    std::unique_ptr<HttpClient> client;
    double deadline = 0;  // 0 = nothing is asked
  };

  EndpointSource(const Options& options, EndpointUrl url, const v1::EvaluationSuite& suite,
                 const std::vector<EvaluationProblem>& problems)
      : options_(options), url_(std::move(url)), suite_(suite), problems_(problems) {}

  absl::StatusOr<std::string> PromptOf(const EvaluationProblem& problem) const;
  std::string BodyOf(const SampleId& id, const std::string& prompt) const;
  void Work(const std::vector<SampleId>& wanted, Slot& slot);
  // With retries. Aborted, PermissionDenied and Unauthenticated end the whole evaluation.
  absl::StatusOr<RawSample> Ask(const SampleId& id, Slot& slot);
  absl::StatusOr<HttpAnswer> Post(const std::string& body, Slot& slot);
  RawSample Describe(const SampleId& id, Completion completion) const;
  void Deliver(const SampleId& id, absl::StatusOr<RawSample> sample);
  void AbortOverdue(bool all);
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const EndpointUrl url_;
  const v1::EvaluationSuite& suite_;
  const std::vector<EvaluationProblem>& problems_;
  StopSignal stop_;  // ends the waits of the threads
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Slot>> slots_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;  // of the wanted samples
  int working_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<RawSample> ready_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> failures_ ABSL_GUARDED_BY(mutex_);
  int failures_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::cli
