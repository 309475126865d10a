// Thinning must never lose a spike, and memory must stay bounded.

#include "learner/status/metric_history.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/rng.h"

namespace r1::learner {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

MetricsRow Row(const std::string& stage, int64_t step, std::map<std::string, double> values) {
  return {
      .stage = stage, .stage_index = 0, .step = step, .update = step, .values = std::move(values)};
}

v1::MetricsReply Read(const MetricHistory& history, const v1::MetricsRequest& request = {}) {
  const auto reply = history.Read(request);
  EXPECT_TRUE(reply.ok()) << reply.status();
  return reply.value_or(v1::MetricsReply());
}

TEST(ThinToMinMaxTest, KeepsExtremesNonFiniteAndLast) {
  std::vector<MetricPoint> points;
  const double values[] = {3, 1, 2, 9, 5, kNan, 5, 5, 4, 7};
  for (uint32_t i = 0; i < 10; ++i) points.push_back({.row = i, .step = i * 2, .value = values[i]});
  const auto thin = ThinToMinMax(points, 5);
  std::vector<uint32_t> rows;
  for (const MetricPoint& point : thin) {
    rows.push_back(point.row);
    EXPECT_EQ(point.step, point.row * 2);
  }
  // Of rows 0-4: 1 at row 1, 9 at row 3. Of rows 5-9: NaN at 5, 4 at 8, 7 at 9, which is also the
  // last.
  EXPECT_EQ(rows, (std::vector<uint32_t>{1, 3, 5, 8, 9}));
}

// Against a naive minimum and maximum over every bucket, for random series with gaps.
TEST(ThinToMinMaxTest, EveryBucketKeepsItsExtremesOnRandomSeries) {
  constexpr uint64_t kSeed = 11;
  Rng rng(kSeed, 0, RngPurpose::kTest, 0, 0);
  for (int round = 0; round < 300; ++round) {
    std::vector<MetricPoint> points;
    uint32_t row = static_cast<uint32_t>(rng.NextBelow(50));
    const uint64_t count = 1 + rng.NextBelow(200);
    for (uint64_t i = 0; i < count; ++i) {
      row += 1 + static_cast<uint32_t>(rng.NextBelow(4));
      points.push_back({.row = row, .step = row, .value = rng.NextUniform()});
    }
    const uint32_t width = 1 + static_cast<uint32_t>(rng.NextBelow(32));
    const auto thin = ThinToMinMax(points, width);
    const auto extremes = [width](const std::vector<MetricPoint>& all) {
      std::map<uint32_t, std::pair<double, double>> result;
      for (const MetricPoint& point : all) {
        auto& [low, high] =
            result.emplace(point.row / width, std::make_pair(1e9, -1e9)).first->second;
        low = std::min(low, point.value);
        high = std::max(high, point.value);
      }
      return result;
    };
    ASSERT_EQ(extremes(thin), extremes(points)) << "seed " << kSeed << " round " << round;
    ASSERT_LE(thin.size(), 2 * extremes(points).size() + 1);
    ASSERT_EQ(thin.back().row, points.back().row);
    ASSERT_TRUE(std::is_sorted(thin.begin(), thin.end(),
                               [](const auto& a, const auto& b) { return a.row < b.row; }));
  }
}

TEST(MetricHistoryTest, RowsCountFromOneAndSinceGivesTheRest) {
  MetricHistory history({});
  history.AddRow(Row("base", 0, {{"loss/mean", 3}}));
  history.AddRow(Row("base", 10, {{"loss/mean", 2}}));
  history.AddRow(Row("rl", 0, {{"reward/mean", 0.5}}));
  const v1::MetricsReply all = Read(history);
  EXPECT_EQ(all.rows(), 3);
  ASSERT_EQ(all.series_size(), 2);
  EXPECT_EQ(all.series(0).key(), "loss/mean");
  EXPECT_EQ(all.series(0).row(1), 2u);
  EXPECT_EQ(all.series(0).step(1), 10u);
  ASSERT_EQ(all.stages_size(), 2);
  EXPECT_EQ(all.stages(1).stage(), "rl");
  EXPECT_EQ(all.stages(1).first_row(), 3u);

  v1::MetricsRequest later;
  later.set_since(2);
  const v1::MetricsReply rest = Read(history, later);
  ASSERT_EQ(rest.series_size(), 1);
  EXPECT_EQ(rest.series(0).key(), "reward/mean");
}

TEST(MetricHistoryTest, KeysSelectExactlyOrByPrefix) {
  MetricHistory history({});
  history.AddRow(
      Row("rl", 0, {{"time/train", 1}, {"time/wait", 2}, {"reward/mean", 3}, {"timer", 4}}));
  v1::MetricsRequest request;
  request.add_keys("time/*");
  request.add_keys("reward/mean");
  const v1::MetricsReply reply = Read(history, request);
  ASSERT_EQ(reply.series_size(), 3);
  EXPECT_EQ(reply.series(0).key(), "reward/mean");
  EXPECT_EQ(reply.series(1).key(), "time/train");
  EXPECT_EQ(reply.series(2).key(), "time/wait");
}

TEST(MetricHistoryTest, LatestIsOfThePresentStageOnly) {
  MetricHistory history({});
  history.AddRow(Row("base", 0, {{"loss/mean", 3}, {"optim/lr", 1}}));
  history.AddRow(Row("rl", 0, {{"optim/lr", 2}}));
  EXPECT_EQ(history.latest(), (std::map<std::string, double>{{"optim/lr", 2}}));
}

TEST(MetricHistoryTest, LongSeriesStayBoundedAndKeepEverySpike) {
  MetricHistory history({.points_max = 256, .series_max = 512});
  constexpr int kRows = 100'000;
  for (int i = 0; i < kRows; ++i) {
    double value = std::sin(i * 0.01);
    if (i == 777) value = 50;
    if (i == 54'321) value = -60;
    if (i == 60'000) value = kNan;
    history.AddRow(Row("rl", i, {{"x", value}}));
  }
  const v1::MetricsReply all = Read(history);
  const v1::MetricSeries& series = all.series(0);
  EXPECT_LE(series.value_size(), 256);
  EXPECT_GE(series.value_size(), 64);
  EXPECT_EQ(*std::max_element(series.value().begin(), series.value().end()), 50);
  EXPECT_EQ(*std::min_element(series.value().begin(), series.value().end()), -60);
  EXPECT_EQ(std::count_if(series.value().begin(), series.value().end(),
                          [](double v) { return std::isnan(v); }),
            1);
  EXPECT_EQ(series.row(series.row_size() - 1), static_cast<uint32_t>(kRows));
  EXPECT_EQ(series.step(series.step_size() - 1), static_cast<uint32_t>(kRows - 1));

  v1::MetricsRequest few;
  few.set_points_max(20);
  const v1::MetricsReply thin = Read(history, few);
  EXPECT_LE(thin.series(0).value_size(), 24);  // about 20: two a bucket, the NaN, the last
  EXPECT_EQ(*std::max_element(thin.series(0).value().begin(), thin.series(0).value().end()), 50);
  EXPECT_EQ(*std::min_element(thin.series(0).value().begin(), thin.series(0).value().end()), -60);
}

TEST(MetricHistoryTest, SeriesBeyondTheLimitAreCountedAndIgnored) {
  MetricHistory history({.points_max = 64, .series_max = 3});
  for (int i = 0; i < 5; ++i) {
    std::map<std::string, double> values;
    for (int key = 0; key < 5; ++key) values["key" + std::to_string(key)] = i;
    history.AddRow(Row("rl", i, values));
  }
  EXPECT_EQ(Read(history).series_size(), 3);
  EXPECT_EQ(history.ignored(), 10u);
  EXPECT_EQ(history.latest().size(), 3u);
}

TEST(MetricHistoryTest, NegativeArgumentsAreRefused) {
  const MetricHistory history({});
  v1::MetricsRequest request;
  request.set_since(-1);
  EXPECT_EQ(history.Read(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_since(0);
  request.set_points_max(-5);
  EXPECT_EQ(history.Read(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace r1::learner
