#include "learner/evaluation_metrics.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace r1::learner {

Interval PassAtOneInterval(std::span<const int64_t> successes, std::span<const int64_t> samples) {
  R1_CHECK(!samples.empty());
  R1_CHECK(successes.size() == samples.size());
  const double prompts = static_cast<double>(samples.size());
  double p = 0;
  double samples_total = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    R1_CHECK(samples[i] > 0);
    p += static_cast<double>(successes[i]) / static_cast<double>(samples[i]) / prompts;
    samples_total += static_cast<double>(samples[i]);
  }
  p = std::min(p, 1.0);  // the sum may round up
  double squares = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const double share = static_cast<double>(successes[i]) / static_cast<double>(samples[i]);
    squares += (share - p) * (share - p);
  }
  double n = prompts;  // as if all samples of a prompt were one, where nothing else can be said
  if (samples.size() > 1 && p > 0 && p < 1) {
    const double variance = squares / (prompts - 1) / prompts;
    n = std::clamp(p * (1 - p) / std::max(variance, 1e-300), prompts, samples_total);
  }
  return WilsonInterval(p, n);
}

void AddEvaluationMetrics(absl::string_view set, std::span<const EvaluatedPrompt> prompts,
                          std::map<std::string, double>& values) {
  const std::string prefix = absl::StrCat("eval/", set, "/");
  std::vector<int64_t> successes, samples;
  double pass = 0, well_formed = 0, tokens = 0, answers = 0, greedy = 0, greedy_correct = 0;
  for (const EvaluatedPrompt& prompt : prompts) {
    if (prompt.greedy) {
      greedy += 1;
      greedy_correct += prompt.greedy->correct ? 1 : 0;
    }
    if (prompt.sampled.empty()) continue;
    int64_t correct = 0;
    for (const EvaluatedSample& sample : prompt.sampled) {
      correct += sample.correct ? 1 : 0;
      well_formed += sample.well_formed ? 1 : 0;
      tokens += static_cast<double>(sample.tokens);
    }
    successes.push_back(correct);
    samples.push_back(static_cast<int64_t>(prompt.sampled.size()));
    answers += static_cast<double>(prompt.sampled.size());
    pass += static_cast<double>(correct) / static_cast<double>(prompt.sampled.size());
  }
  if (greedy > 0) {
    const Interval interval = WilsonInterval(greedy_correct / greedy, greedy);
    values[prefix + "greedy"] = greedy_correct / greedy;
    values[prefix + "greedy_low"] = interval.low;
    values[prefix + "greedy_high"] = interval.high;
  }
  if (answers == 0) return;
  const Interval interval = PassAtOneInterval(successes, samples);
  values[prefix + "pass@1"] = pass / static_cast<double>(samples.size());
  values[prefix + "pass@1_low"] = interval.low;
  values[prefix + "pass@1_high"] = interval.high;
  values[prefix + "format_frac"] = well_formed / answers;
  values[prefix + "length_mean"] = tokens / answers;
  values[prefix + "samples"] = answers;
}

}  // namespace r1::learner
