#include "cli/evaluation/report.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/evaluation/contest_rating.h"
#include "common/evaluation/estimators.h"
#include "common/evaluation/suite.h"
#include "rewards/math/compare.h"

namespace r1::cli {
namespace {

using nlohmann::ordered_json;
using Kind = SuiteMetric::Kind;

// The samples of one problem that the first reward could judge, in their order.
struct JudgedProblem {
  std::vector<const ScoredSample*> sampled;
  const ScoredSample* greedy = nullptr;
  double rating = 0;
  bool has_rating = false;
};

bool IsJudged(const ScoredSample& sample) {
  return !sample.scores.empty() && sample.scores[0].value;
}
bool IsCorrect(const ScoredSample& sample) { return *sample.scores[0].value >= 1; }

double CorrectOf(const JudgedProblem& problem) {
  return static_cast<double>(std::count_if(problem.sampled.begin(), problem.sampled.end(),
                                           [](const auto* sample) { return IsCorrect(*sample); }));
}

// Answers that are the same: correct ones, each of which equals the gold answer; wrong ones by the
// comparison of the reward `math`, each with the first one that it equals.
struct Votes {
  std::vector<AnswerClass> classes;
  int64_t silent = 0;  // samples that gave no answer
};
Votes CountVotes(std::span<const ScoredSample* const> samples) {
  Votes votes;
  std::vector<const ScoredSample*> firsts;  // of each class
  for (const ScoredSample* sample : samples) {
    if (sample->extracted.empty()) {
      ++votes.silent;
      continue;
    }
    const auto is_same = [sample](const ScoredSample* first) {
      if (IsCorrect(*first) || IsCorrect(*sample)) return IsCorrect(*first) && IsCorrect(*sample);
      return first->extracted == sample->extracted ||
             rewards::math::CompareAnswers(first->extracted, sample->extracted).verdict ==
                 rewards::math::Verdict::kEqual;
    };
    const auto found = std::find_if(firsts.begin(), firsts.end(), is_same);
    const size_t place = static_cast<size_t>(found - firsts.begin());
    if (found == firsts.end()) {
      firsts.push_back(sample);
      votes.classes.push_back({.votes = 0, .correct = IsCorrect(*sample) ? 1.0 : 0.0});
    }
    ++votes.classes[place].votes;
  }
  return votes;
}

// The value of one problem; none when the problem has too few samples for it.
using ProblemValue = std::function<std::optional<double>(const JudgedProblem&)>;

// The mean over a problem's samples of what a sample says, if it says it.
ProblemValue MeanOver(std::function<std::optional<double>(const ScoredSample&)> value) {
  return [value = std::move(value)](const JudgedProblem& problem) -> std::optional<double> {
    double sum = 0;
    double count = 0;
    for (const ScoredSample* sample : problem.sampled) {
      const std::optional<double> of_sample = value(*sample);
      if (!of_sample) continue;
      sum += *of_sample;
      count += 1;
    }
    if (count == 0) return std::nullopt;
    return sum / count;
  };
}

class Reporter {
 public:
  Reporter(const v1::EvaluationSuite& suite, uint64_t seed)
      : prefix_(absl::StrCat("eval/", suite.name(), "/")), seed_(seed) {}

  using MakeInterval = Interval (*)(std::span<const double> values, uint64_t seed);

  // The mean over the problems that have a value.
  void AddMean(const std::string& name, const std::vector<JudgedProblem>& problems,
               const ProblemValue& value, MakeInterval make_interval = BootstrapMeanInterval) {
    std::vector<double> values;
    for (const JudgedProblem& problem : problems) {
      if (const std::optional<double> one = value(problem)) values.push_back(*one);
    }
    if (values.empty()) return;
    double sum = 0;
    for (const double one : values) sum += one;
    Add(name, sum / static_cast<double>(values.size()), make_interval(values, seed_));
  }

  void Add(const std::string& name, double value, const Interval& interval) {
    metrics_[prefix_ + name] = value;
    metrics_[absl::StrCat(prefix_, name, "_low")] = interval.low;
    metrics_[absl::StrCat(prefix_, name, "_high")] = interval.high;
  }
  void AddCount(const std::string& name, int64_t value) { metrics_[prefix_ + name] = value; }

  ordered_json TakeMetrics() { return std::move(metrics_); }

 private:
  const std::string prefix_;
  const uint64_t seed_;
  ordered_json metrics_ = ordered_json::object();
};

ProblemValue ValueOf(const SuiteMetric& metric) {
  const int64_t k = metric.k;
  const auto size = [](const JudgedProblem& problem) {
    return static_cast<int64_t>(problem.sampled.size());
  };
  switch (metric.kind) {
    case Kind::kPass:
      return [k, size](const JudgedProblem& problem) -> std::optional<double> {
        if (size(problem) < k) return std::nullopt;
        return PassAtK(size(problem), static_cast<int64_t>(CorrectOf(problem)), k);
      };
    case Kind::kConsensus:
      return [k, size](const JudgedProblem& problem) -> std::optional<double> {
        if (size(problem) < k) return std::nullopt;
        const std::span<const ScoredSample* const> samples(problem.sampled);
        return ConsensusOfVotes(CountVotes(samples.first(static_cast<size_t>(k))).classes);
      };
    case Kind::kMajority:
      return [k, size](const JudgedProblem& problem) -> std::optional<double> {
        if (size(problem) < k) return std::nullopt;
        const Votes votes = CountVotes(problem.sampled);
        return ExpectedConsensus(votes.classes, votes.silent, k);
      };
    default:
      R1_CHECK(metric.kind == Kind::kGreedy);
      return [](const JudgedProblem& problem) -> std::optional<double> {
        if (problem.greedy == nullptr) return std::nullopt;
        return IsCorrect(*problem.greedy) ? 1 : 0;
      };
  }
}

void AddRating(const std::vector<JudgedProblem>& problems, uint64_t seed, Reporter& reporter) {
  std::vector<RatedResult> results;
  for (const JudgedProblem& problem : problems) {
    if (!problem.has_rating || problem.sampled.empty()) continue;
    results.push_back(
        {problem.rating, CorrectOf(problem) / static_cast<double>(problem.sampled.size())});
  }
  if (results.empty()) return;
  const auto rating_of = [&results](std::span<const uint32_t> drawn) {
    std::vector<RatedResult> sample;
    for (const uint32_t index : drawn) sample.push_back(results[index]);
    return ContestRating(sample);
  };
  const double rating = ContestRating(results);
  const Interval interval =
      BootstrapInterval(static_cast<uint32_t>(results.size()), seed, rating_of);
  reporter.Add("rating", rating, interval);
  reporter.Add("rating_percentile", RatingPercentile(rating),
               {RatingPercentile(interval.low), RatingPercentile(interval.high)});
  reporter.AddCount("rated_problems", static_cast<int64_t>(results.size()));
}

void AddMetrics(const v1::EvaluationSuite& suite, const std::vector<JudgedProblem>& problems,
                uint64_t seed, Reporter& reporter) {
  reporter.AddMean("pass@1", problems, ValueOf({.kind = Kind::kPass, .k = 1}),
                   BootstrapShareInterval);
  for (const std::string& name : suite.metrics()) {
    const absl::StatusOr<SuiteMetric> metric = ParseSuiteMetric(name);
    R1_CHECK(metric.ok());  // the suite was loaded with it
    if (metric->kind == Kind::kRating) {
      AddRating(problems, seed, reporter);
    } else if (name != "pass@1") {
      reporter.AddMean(name, problems, ValueOf(*metric), BootstrapShareInterval);
    }
  }
  for (int i = 1; i < suite.reward_size(); ++i) {
    const std::string& name = suite.reward(i).name();
    reporter.AddMean(name == "format" ? "format_frac" : name, problems,
                     MeanOver([i](const ScoredSample& sample) -> std::optional<double> {
                       return sample.scores[static_cast<size_t>(i)].value;
                     }),
                     BootstrapShareInterval);
  }
  const auto tokens = [](const ScoredSample& sample) -> std::optional<double> {
    if (!sample.raw.tokens) return std::nullopt;
    return static_cast<double>(*sample.raw.tokens);
  };
  reporter.AddMean("length_mean", problems, MeanOver(tokens));
  reporter.AddMean("length_correct_mean", problems,
                   MeanOver([&tokens](const ScoredSample& sample) -> std::optional<double> {
                     return IsCorrect(sample) ? tokens(sample) : std::nullopt;
                   }));
  reporter.AddMean("truncated_frac", problems,
                   MeanOver([](const ScoredSample& sample) -> std::optional<double> {
                     return sample.raw.finish_reason == "stop" ? 0 : 1;
                   }),
                   BootstrapShareInterval);
}

}  // namespace

ordered_json EvaluationReport(const v1::EvaluationSuite& suite,
                              const std::vector<EvaluationProblem>& problems,
                              const ScoredSamples& samples, uint64_t seed) {
  const int wanted = suite.sampling().samples();
  const bool wants_greedy = HasMetric(suite, Kind::kGreedy);
  std::vector<JudgedProblem> judged(problems.size());
  std::map<std::string, std::map<std::string, int64_t>> reasons;
  std::map<std::string, int64_t> finish_reasons;
  int64_t count = 0, missing = 0, not_judged = 0, failed = 0;
  ordered_json rows = ordered_json::array();
  for (size_t i = 0; i < problems.size(); ++i) {
    JudgedProblem& problem = judged[i];
    problem.has_rating = problems[i].rating.has_value();
    problem.rating = problems[i].rating.value_or(0);
    for (int k = wants_greedy ? SampleId::kGreedy : 0; k < wanted; ++k) {
      const auto found = samples.find({i, k});
      if (found == samples.end()) {
        ++missing;
        continue;
      }
      const ScoredSample& sample = found->second;
      if (k != SampleId::kGreedy) ++finish_reasons[sample.raw.finish_reason];
      for (const RewardScore& score : sample.scores) ++reasons[score.name][score.reason];
      if (!sample.error.empty()) {
        ++failed;
      } else if (!IsJudged(sample)) {
        ++not_judged;
      } else if (k == SampleId::kGreedy) {
        problem.greedy = &sample;
      } else {
        problem.sampled.push_back(&sample);
      }
    }
    count += static_cast<int64_t>(problem.sampled.size());
    rows.push_back({{"problem", problems[i].id},
                    {"samples", problem.sampled.size()},
                    {"correct", static_cast<int64_t>(CorrectOf(problem))}});
  }
  Reporter reporter(suite, seed);
  AddMetrics(suite, judged, seed, reporter);
  reporter.AddCount("samples", count);
  return {{"set", suite.name()},
          {"metrics", reporter.TakeMetrics()},
          {"counts",
           {{"problems", problems.size()},
            {"samples", count},
            {"missing", missing},
            {"failed", failed},
            {"not_judged", not_judged},
            {"finish_reasons", finish_reasons}}},
          {"reasons", reasons},
          {"problems", std::move(rows)}};
}

std::string EvaluationTable(const ordered_json& report) {
  const ordered_json& counts = report["counts"];
  const std::string prefix = absl::StrCat("eval/", report["set"].get<std::string>(), "/");
  std::string table =
      absl::StrFormat("%s: %d problems, %d samples\n", report["set"].get<std::string>(),
                      counts["problems"].get<int64_t>(), counts["samples"].get<int64_t>());
  for (const auto& [name, value] : report["metrics"].items()) {
    const std::string low = absl::StrCat(name, "_low");
    if (!report["metrics"].contains(low)) continue;
    absl::StrAppendFormat(&table, "  %-28s %10.4f  95 %% [%.4f, %.4f]\n",
                          name.substr(prefix.size()), value.get<double>(),
                          report["metrics"][low].get<double>(),
                          report["metrics"][absl::StrCat(name, "_high")].get<double>());
  }
  for (const char* name : {"missing", "failed", "not_judged"}) {
    const auto number = counts[name].get<int64_t>();
    if (number > 0) absl::StrAppendFormat(&table, "  %d samples %s\n", number, name);
  }
  return table;
}

}  // namespace r1::cli
