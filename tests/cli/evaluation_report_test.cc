#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/evaluation/report.h"
#include "common/evaluation/suite.h"

namespace r1::cli {
namespace {

using ::testing::HasSubstr;

v1::EvaluationSuite Suite(const std::vector<std::string>& overrides) {
  const auto loaded = LoadSuiteText(
      "s.toml", "name = \"x\"\n[[reward]]\nname = \"math\"\n[[reward]]\nname = \"format\"\n",
      overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->suite;
}

std::vector<EvaluationProblem> Problems(size_t count) {
  std::vector<EvaluationProblem> problems(count);
  for (size_t i = 0; i < count; ++i) problems[i].id = absl::StrCat("p", i);
  return problems;
}

ScoredSample Sample(size_t problem, int sample, bool correct, const std::string& answer,
                    int64_t tokens = 10) {
  ScoredSample scored;
  scored.raw.id = {problem, sample};
  scored.raw.tokens = tokens;
  scored.raw.finish_reason = "stop";
  scored.extracted = answer;
  scored.scores = {{"math", correct ? 1.0 : 0.0, correct ? "equal" : "different"},
                   {"format", 1.0, "match"}};
  return scored;
}

ScoredSamples ByIds(const std::vector<ScoredSample>& list) {
  ScoredSamples samples;
  for (const ScoredSample& sample : list) samples[sample.raw.id] = sample;
  return samples;
}

// Two problems with four samples: the first has 1/2, 0.5, 3 and none, the second 7, 7, 8 and 7.
ScoredSamples Example() {
  return ByIds({Sample(0, 0, true, "\\frac{1}{2}"), Sample(0, 1, true, "0.5", 30),
                Sample(0, 2, false, "3"), Sample(0, 3, false, ""), Sample(1, 0, false, "7"),
                Sample(1, 1, false, "7"), Sample(1, 2, true, "8"), Sample(1, 3, false, "7")});
}

double Metric(const nlohmann::ordered_json& report, const std::string& name) {
  return report["metrics"][absl::StrCat("eval/x/", name)].get<double>();
}

TEST(EvaluationReportTest, HandComputedMetrics) {
  const v1::EvaluationSuite suite =
      Suite({"sampling.samples=4",
             "metrics=[\"pass@2\", \"pass@4\", \"cons@1\", \"cons@4\", \"maj@1\", \"maj@3\"]"});
  const auto report = EvaluationReport(suite, Problems(2), Example(), 1);
  EXPECT_DOUBLE_EQ(Metric(report, "pass@1"), (0.5 + 0.25) / 2);
  // 1 - C(2,2)/C(4,2) and 1 - C(3,2)/C(4,2).
  EXPECT_DOUBLE_EQ(Metric(report, "pass@2"), (5.0 / 6 + 3.0 / 6) / 2);
  EXPECT_DOUBLE_EQ(Metric(report, "pass@4"), 1);
  // 1/2 and 0.5 are one answer; the second problem's first sample is 7.
  EXPECT_DOUBLE_EQ(Metric(report, "cons@1"), 0.5);
  EXPECT_DOUBLE_EQ(Metric(report, "cons@4"), 0.5);
  EXPECT_DOUBLE_EQ(Metric(report, "maj@1"), Metric(report, "pass@1"));
  // Of the four triples of the first problem, {1/2, .5, x} win twice, {1/2 or .5, 3, none} tie
  // twice: 3/4. Of the second's, 7 wins all.
  EXPECT_NEAR(Metric(report, "maj@3"), 0.75 / 2, 1e-12);
  EXPECT_DOUBLE_EQ(Metric(report, "format_frac"), 1);
  EXPECT_DOUBLE_EQ(Metric(report, "length_mean"), (60.0 / 4 + 10) / 2);
  EXPECT_DOUBLE_EQ(Metric(report, "length_correct_mean"), (20.0 + 10) / 2);
  EXPECT_DOUBLE_EQ(Metric(report, "truncated_frac"), 0);
  EXPECT_DOUBLE_EQ(Metric(report, "samples"), 8);
  EXPECT_LE(Metric(report, "pass@1_low"), Metric(report, "pass@1"));
  EXPECT_GE(Metric(report, "pass@1_high"), Metric(report, "pass@1"));
  EXPECT_EQ(report["reasons"]["math"]["equal"], 3);
  EXPECT_EQ(report["problems"][0]["correct"], 2);
  EXPECT_THAT(EvaluationTable(report), HasSubstr("x: 2 problems, 8 samples"));
}

TEST(EvaluationReportTest, WhatIsMissingOrCannotBeJudgedIsCountedAndNeverZero) {
  ScoredSamples samples = Example();
  samples.erase({0, 3});
  samples[{0, 2}].scores[0] = {"math", std::nullopt, "unparseable_gold"};
  samples[{1, 3}].error = "math: the sandbox failed";
  samples[{1, 3}].scores[0].value.reset();
  const v1::EvaluationSuite suite =
      Suite({"sampling.samples=4", "metrics=[\"pass@3\", \"greedy\"]"});
  const auto report = EvaluationReport(suite, Problems(2), samples, 1);
  EXPECT_EQ(report["counts"]["missing"], 3);  // and the two greedy ones
  EXPECT_EQ(report["counts"]["not_judged"], 1);
  EXPECT_EQ(report["counts"]["failed"], 1);
  EXPECT_EQ(report["counts"]["samples"], 5);
  EXPECT_DOUBLE_EQ(Metric(report, "pass@1"), (1 + 1.0 / 3) / 2);
  EXPECT_DOUBLE_EQ(Metric(report, "pass@3"), 1);  // of the problem that has three
  EXPECT_FALSE(report["metrics"].contains("eval/x/greedy"));
  EXPECT_THAT(EvaluationTable(report), HasSubstr("3 samples missing"));
}

TEST(EvaluationReportTest, SamplesOfOtherProblemsAreLeftOut) {
  ScoredSamples samples = Example();
  samples[{7, 0}] = Sample(7, 0, true, "1");
  samples[{0, 9}] = Sample(0, 9, true, "1");
  samples[{0, SampleId::kGreedy}] = Sample(0, SampleId::kGreedy, true, "1");
  const v1::EvaluationSuite suite = Suite({"sampling.samples=4", "metrics=[\"greedy\"]"});
  const auto report = EvaluationReport(suite, Problems(2), samples, 1);
  EXPECT_EQ(report["counts"]["samples"], 8);
  EXPECT_DOUBLE_EQ(Metric(report, "greedy"), 1);
  EXPECT_EQ(report["counts"]["missing"], 1);
}

TEST(EvaluationReportTest, RatingOfProblems) {
  std::vector<EvaluationProblem> problems = Problems(2);
  problems[0].rating = 1500;
  v1::EvaluationSuite suite = Suite({"sampling.samples=4"});
  suite.mutable_data()->set_format("codeforces");
  suite.add_metrics("rating");
  const auto report = EvaluationReport(suite, problems, Example(), 1);
  EXPECT_NEAR(Metric(report, "rating"), 1500, 1e-6);  // solved in two of four attempts
  EXPECT_NEAR(Metric(report, "rating_percentile"), 83, 2);
  EXPECT_DOUBLE_EQ(Metric(report, "rated_problems"), 1);
}

}  // namespace
}  // namespace r1::cli
