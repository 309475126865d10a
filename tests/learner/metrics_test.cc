// metrics.jsonl, TensorBoard files, and the intervals of evaluations.

#include "learner/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/hash.h"
#include "common/rng.h"
#include "learner/evaluation_metrics.h"
#include "learner/tensorboard_writer.h"
#include "proto/tensorboard.pb.h"
#include "tests/common/fault_filesystem.h"

namespace r1::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

MetricsRow Row(int64_t step, std::map<std::string, double> values) {
  return {"rl", 2, step, 2 * step, std::move(values)};
}

// --- metrics.jsonl ---

TEST(MetricsTest, ARowIsOneLineWithItsHeadFirst) {
  EXPECT_EQ(FormatMetricsRow(Row(3, {{"reward/mean", 0.1}, {"eval/held_out/pass@1", 1}})),
            "{\"stage\":\"rl\",\"step\":3,\"update\":6,\"stage_index\":2,"
            "\"eval/held_out/pass@1\":1,\"reward/mean\":0.1}\n");
  EXPECT_EQ(FormatMetricsRow({"a\"\n", 0, 0, 0, {}}),
            "{\"stage\":\"a\\\"\\n\",\"step\":0,\"update\":0,\"stage_index\":0}\n");
}

TEST(MetricsTest, NumbersReadBackToTheSameBits) {
  Rng rng(1, 0, RngPurpose::kTest, 0, 0);
  for (int i = 0; i < 20000; ++i) {
    double value = 0;
    const uint64_t bits = rng.Next64();
    std::memcpy(&value, &bits, sizeof(value));
    const auto row = ParseMetricsRow(FormatMetricsRow(Row(1, {{"x", value}})), "line");
    ASSERT_TRUE(row.ok()) << row.status();
    const double read = row->values.at("x");
    if (std::isfinite(value)) {
      ASSERT_EQ(std::memcmp(&read, &value, sizeof(value)), 0) << value;
    } else {
      ASSERT_TRUE(std::isnan(read));
    }
  }
}

TEST(MetricsTest, NonFiniteValuesAreNullAndCounted) {
  FaultFileSystem files;
  const auto writer = MetricsWriter::Open(files, "metrics.jsonl");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append(Row(1, {{"a", kNan}, {"b", -kInfinity}, {"c", 1}})).ok());
  EXPECT_EQ((*writer)->nonfinite_values(), 2);
  EXPECT_THAT(*files.Read("metrics.jsonl", 1000), HasSubstr("\"a\":null,\"b\":null,\"c\":1"));
}

TEST(MetricsTest, RowsAreReadBack) {
  FaultFileSystem files;
  const auto writer = MetricsWriter::Open(files, "metrics.jsonl");
  ASSERT_TRUE(writer.ok());
  for (int step = 1; step <= 3; ++step)
    ASSERT_TRUE((*writer)->Append(Row(step, {{"x", step / 4.}})).ok());
  const auto read = ReadMetrics(files, "metrics.jsonl");
  ASSERT_TRUE(read.ok());
  ASSERT_THAT(read->rows, SizeIs(3));
  EXPECT_EQ(read->rows[2].stage, "rl");
  EXPECT_EQ(read->rows[2].stage_index, 2u);
  EXPECT_EQ(read->rows[2].step, 3);
  EXPECT_EQ(read->rows[2].update, 6);
  EXPECT_THAT(read->rows[2].values, ElementsAre(Pair("x", 0.75)));
  EXPECT_EQ(read->bytes, (*writer)->bytes());
  EXPECT_THAT(read->warnings, IsEmpty());
}

TEST(MetricsTest, TheReaderSkipsWhatIsNoRowAndSaysSo) {
  FaultFileSystem files;
  const auto file = files.Create("metrics.jsonl");
  const std::string good = FormatMetricsRow(Row(1, {{"x", 1}}));
  ASSERT_TRUE((*file)
                  ->Append(absl::StrCat(good, "garbage\n{\"stage\":\"rl\"}\n[]\n", good,
                                        good.substr(0, 20)))
                  .ok());
  const auto read = ReadMetrics(files, "metrics.jsonl");
  ASSERT_TRUE(read.ok());
  EXPECT_THAT(read->rows, SizeIs(2));
  EXPECT_THAT(read->warnings,
              ElementsAre(HasSubstr("metrics.jsonl:2"), HasSubstr("metrics.jsonl:3: step"),
                          HasSubstr("metrics.jsonl:4: expected an object"),
                          HasSubstr("metrics.jsonl:6: the last line is torn")));
}

TEST(MetricsTest, ATornLastLineIsCutBeforeTheNextRow) {
  const std::string good = FormatMetricsRow(Row(1, {{"x", 1}}));
  for (size_t torn = 0; torn < good.size(); ++torn) {
    FaultFileSystem files;
    ASSERT_TRUE(
        (*files.Create("metrics.jsonl"))->Append(absl::StrCat(good, good.substr(0, torn))).ok());
    const auto writer = MetricsWriter::Open(files, "metrics.jsonl");
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Append(Row(2, {})).ok());
    EXPECT_EQ(*files.Read("metrics.jsonl", 1000), good + FormatMetricsRow(Row(2, {})));
  }
}

TEST(MetricsTest, AFullDiskLosesARowButHarmsNoOther) {
  FaultFileSystem files;
  const auto writer = MetricsWriter::Open(files, "metrics.jsonl");
  ASSERT_TRUE((*writer)->Append(Row(1, {})).ok());
  files.FailAt(files.operations(), FaultFileSystem::Fault::kDiskFull);
  EXPECT_EQ((*writer)->Append(Row(2, {})).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE((*writer)->Append(Row(3, {})).ok());
  EXPECT_EQ(*files.Read("metrics.jsonl", 1000),
            FormatMetricsRow(Row(1, {})) + FormatMetricsRow(Row(3, {})));
}

TEST(MetricsTest, WhatSyncReturnedSurvivesAPowerCut) {
  FaultFileSystem files;
  const auto writer = MetricsWriter::Open(files, "metrics.jsonl");
  ASSERT_TRUE((*writer)->Append(Row(1, {})).ok());
  const auto bytes = (*writer)->Sync();
  ASSERT_TRUE(bytes.ok());
  ASSERT_TRUE((*writer)->Append(Row(2, {})).ok());
  const auto after = files.AfterPowerLoss([] { return 0.0; });
  EXPECT_EQ(*after->Read("metrics.jsonl", 1000), FormatMetricsRow(Row(1, {})));
  EXPECT_EQ(*bytes, FormatMetricsRow(Row(1, {})).size());
}

// --- TensorBoard ---

uint32_t ReadU32(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i)
    value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

// Reads the framing as TensorFlow's record reader does.
std::vector<v1::TensorboardEvent> ReadEvents(FileSystem& files, const std::string& path) {
  const std::string bytes = *files.Read(path, 1 << 20);
  std::vector<v1::TensorboardEvent> events;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t length = ReadU32(bytes, at) | uint64_t{ReadU32(bytes, at + 4)} << 32;
    EXPECT_EQ(ReadU32(bytes, at + 8), MaskCrc32c(Crc32c(bytes.substr(at, 8))));
    const std::string data = bytes.substr(at + 12, length);
    EXPECT_EQ(ReadU32(bytes, at + 12 + length), MaskCrc32c(Crc32c(data)));
    EXPECT_TRUE(events.emplace_back().ParseFromString(data));
    at += 16 + length;
  }
  return events;
}

TEST(TensorboardTest, TheMaskIsTensorFlows) {
  // crc32c("123456789") = e3069283; rotated right by 15 and moved by a282ead8.
  EXPECT_EQ(MaskCrc32c(0xe3069283u), ((0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u));
  EXPECT_EQ(MaskCrc32c(0), 0xa282ead8u);
}

TEST(TensorboardTest, EveryRowBecomesScalars) {
  FaultFileSystem files;
  ManualClock clock;
  clock.Advance(12.5);
  const auto writer = TensorboardWriter::Create(files, "", 1, {}, clock);
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_THAT((*writer)->path(), testing::StartsWith("events.out.tfevents.1700000012."));
  ASSERT_TRUE((*writer)->Append(Row(1, {{"reward/mean", 0}, {"policy/entropy", 0.5}})).ok());
  const auto events = ReadEvents(files, (*writer)->path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].session_log().status(), v1::TensorboardSessionLog::START);
  EXPECT_EQ(events[2].wall_time(), 1.7e9 + 12.5);
  EXPECT_EQ(events[2].step(), 1);
  ASSERT_EQ(events[2].summary().value_size(), 2);
  EXPECT_EQ(events[2].summary().value(0).tag(), "policy/entropy");
  EXPECT_EQ(events[2].summary().value(0).simple_value(), 0.5f);
  EXPECT_TRUE(events[2].summary().value(1).has_simple_value());  // a zero is a value
}

TEST(TensorboardTest, StepsGoOnFromStageToStageAndOverARestart) {
  FaultFileSystem files;
  ManualClock clock;
  const std::vector<MetricsRow> rows = {{"base", 0, 100, 100, {{"x", 1}}},
                                        {"base", 0, 200, 200, {{"x", 1}}},
                                        {"rl", 1, 1, 1, {{"x", 1}}},
                                        {"rl", 1, 2, 2, {{"x", 1}}}};
  const auto first = TensorboardWriter::Create(files, "", 1, {}, clock);
  for (const MetricsRow& row : rows) ASSERT_TRUE((*first)->Append(row).ok());
  const auto second =
      TensorboardWriter::Create(files, "", 2, {rows.begin(), rows.end() - 1}, clock);
  ASSERT_TRUE((*second)->Append(rows[3]).ok());
  EXPECT_NE((*first)->path(), (*second)->path());

  std::vector<int64_t> steps;
  for (const auto& event : ReadEvents(files, (*first)->path())) steps.push_back(event.step());
  EXPECT_THAT(steps, ElementsAre(0, 1, 100, 200, 201, 202));
  const auto events = ReadEvents(files, (*second)->path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].step(), 202);  // void from here on
  EXPECT_EQ(events[2].step(), 202);
}

// --- Intervals ---

// The score test's bounds by bisection, in float64: the p0 at which |p - p0| = z sqrt(p0 (1 - p0) /
// n).
Interval NaiveWilson(double p, double n) {
  const double z = 1.959963984540054;
  const auto search = [&](double inside, double outside) {
    for (int i = 0; i < 200; ++i) {
      const double middle = (inside + outside) / 2;
      const bool accepted = std::abs(p - middle) <= z * std::sqrt(middle * (1 - middle) / n);
      (accepted ? inside : outside) = middle;
    }
    return inside;
  };
  return {search(p, 0), search(p, 1)};
}

TEST(IntervalTest, WilsonSolvesTheScoreEquation) {
  for (const double n : {1., 5., 17.5, 128., 512., 10000.}) {
    for (const double p : {0., 0.001, 0.25, 0.5, 0.9, 0.998, 1.}) {
      const Interval interval = WilsonInterval(p, n);
      const Interval naive = NaiveWilson(p, n);
      EXPECT_NEAR(interval.low, naive.low, 1e-12) << p << " of " << n;
      EXPECT_NEAR(interval.high, naive.high, 1e-12) << p << " of " << n;
    }
  }
  // Published example: 0 of 10 gives [0, 0.2775] (Brown, Cai, DasGupta 2001 use the same formula).
  EXPECT_NEAR(WilsonInterval(0, 10).high, 0.27753, 5e-6);
}

TEST(IntervalTest, OneSampleAPromptIsTheUsualWilsonInterval) {
  std::vector<int64_t> successes(512, 0);
  const std::vector<int64_t> samples(512, 1);
  for (int i = 0; i < 400; ++i) successes[static_cast<size_t>(i)] = 1;
  const Interval interval = PassAtOneInterval(successes, samples);
  const Interval wilson = WilsonInterval(400. / 512, 512);
  EXPECT_NEAR(interval.low, wilson.low, 1e-12);
  EXPECT_NEAR(interval.high, wilson.high, 1e-12);
}

TEST(IntervalTest, SamplesOfOnePromptCountAsFarAsTheyDiffer) {
  // 100 prompts x 8 samples at .5: alike within a prompt they tell as much as 100 samples,
  // independent ones as 800.
  std::vector<int64_t> alike(100), even(100, 4);
  for (size_t i = 0; i < 100; ++i) alike[i] = i % 2 == 0 ? 0 : 8;
  const std::vector<int64_t> samples(100, 8);
  EXPECT_NEAR(PassAtOneInterval(alike, samples).low, WilsonInterval(0.5, 100).low, 1e-12);
  EXPECT_NEAR(PassAtOneInterval(even, samples).low, WilsonInterval(0.5, 800).low, 1e-12);
}

TEST(IntervalTest, ExtremesAreNotCertainties) {
  const std::vector<int64_t> samples(50, 4);
  const Interval all = PassAtOneInterval(samples, samples);
  EXPECT_EQ(all.high, 1);
  EXPECT_NEAR(all.low, WilsonInterval(1, 50).low, 1e-12);
  const Interval none = PassAtOneInterval(std::vector<int64_t>(50, 0), samples);
  EXPECT_EQ(none.low, 0);
  EXPECT_GT(none.high, 0.05);
  const Interval one = PassAtOneInterval(std::vector<int64_t>{2}, std::vector<int64_t>{4});
  EXPECT_LT(one.high - one.low, 1);
}

// Prompts of very different difficulty, several samples each: the interval must cover the true mean
// about as often as it says, which an interval that took samples for independent would not.
TEST(IntervalTest, CoversTheTruthAsOftenAsItSays) {
  Rng rng(3, 0, RngPurpose::kTest, 0, 0);
  for (const int64_t k : {1, 4, 16}) {
    int covered = 0, covered_as_independent = 0;
    constexpr int kTrials = 4000;
    for (int trial = 0; trial < kTrials; ++trial) {
      std::vector<int64_t> successes(64), samples(64, k);
      double mean = 0;
      for (int64_t& count : successes) {
        const double uniform = rng.NextUniform();
        const double difficulty = uniform * uniform * uniform;  // mean 1/4
        for (int64_t i = 0; i < k; ++i) count += rng.NextUniform() < difficulty ? 1 : 0;
        mean += static_cast<double>(count) / static_cast<double>(k) / 64;
      }
      const Interval interval = PassAtOneInterval(successes, samples);
      covered += interval.low <= 0.25 && 0.25 <= interval.high ? 1 : 0;
      const Interval independent = WilsonInterval(mean, static_cast<double>(64 * k));
      covered_as_independent += independent.low <= 0.25 && 0.25 <= independent.high ? 1 : 0;
    }
    const double share = static_cast<double>(covered) / kTrials;
    std::printf("%d samples a prompt: covered %.3f, as independent samples %.3f\n",
                static_cast<int>(k), share, static_cast<double>(covered_as_independent) / kTrials);
    EXPECT_GT(share, 0.925);
    EXPECT_LT(share, 0.975);
  }
}

TEST(EvaluationMetricsTest, NamesAndValues) {
  const std::vector<EvaluatedPrompt> prompts = {
      {{{true, true, 10}, {false, true, 20}}, EvaluatedSample{true, true, 12}},
      {{{false, false, 30}, {false, true, 40}}, EvaluatedSample{false, true, 8}},
  };
  std::map<std::string, double> values;
  AddEvaluationMetrics("held_out", prompts, values);
  const Interval interval =
      PassAtOneInterval(std::vector<int64_t>{1, 0}, std::vector<int64_t>{2, 2});
  const Interval greedy = WilsonInterval(0.5, 2);
  EXPECT_THAT(
      values,
      ElementsAre(Pair("eval/held_out/format_frac", 0.75), Pair("eval/held_out/greedy", 0.5),
                  Pair("eval/held_out/greedy_high", greedy.high),
                  Pair("eval/held_out/greedy_low", greedy.low),
                  Pair("eval/held_out/length_mean", 25), Pair("eval/held_out/pass@1", 0.25),
                  Pair("eval/held_out/pass@1_high", interval.high),
                  Pair("eval/held_out/pass@1_low", interval.low),
                  Pair("eval/held_out/samples", 4)));
}

TEST(EvaluationMetricsTest, WhatWasNotMeasuredHasNoName) {
  std::map<std::string, double> values;
  AddEvaluationMetrics("dev", std::vector<EvaluatedPrompt>{}, values);
  EXPECT_THAT(values, IsEmpty());
  AddEvaluationMetrics("dev", std::vector<EvaluatedPrompt>{{{}, EvaluatedSample{true, true, 3}}},
                       values);
  EXPECT_THAT(values, ElementsAre(Pair("eval/dev/greedy", 1), Pair("eval/dev/greedy_high", 1),
                                  Pair("eval/dev/greedy_low", WilsonInterval(1, 1).low)));
}

}  // namespace
}  // namespace r1::learner
