// Numbers of an evaluation with their 95 % intervals: what goes into the metrics row and the final
// table.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/evaluation/estimators.h"

namespace r1::learner {

struct EvaluatedSample {
  bool correct = false;      // the answer is right
  bool well_formed = false;  // the format is kept
  int64_t tokens = 0;        // of the response
};

struct EvaluatedPrompt {
  std::vector<EvaluatedSample> sampled;
  std::optional<EvaluatedSample> greedy;
};

// 95 % interval of pass@1, the mean over prompts of each prompt's share of correct samples. Samples
// of one prompt are not independent, so Wilson's n is the effective sample size: p (1 - p) over the
// variance of that mean as estimated from the spread between prompts, but no fewer than the prompts
// and no more than the samples. One sample a prompt: the usual Wilson interval. Deterministic, and
// not empty at 0 and 1, where a bootstrap over prompts would be.
//   successes, samples  of each prompt; samples > 0; at least one prompt
Interval PassAtOneInterval(std::span<const int64_t> successes, std::span<const int64_t> samples);

// Adds eval/<set>/{pass@1, pass@1_low, pass@1_high, format_frac, length_mean, samples} over the
// sampled answers and eval/<set>/greedy over the greedy ones. Names of what there is nothing of are
// left out; `samples` counts answers.
void AddEvaluationMetrics(absl::string_view set, std::span<const EvaluatedPrompt> prompts,
                          std::map<std::string, double>& values);

}  // namespace r1::learner
