#include "learner/status/metric_history.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/utf8.h"

namespace r1::learner {
namespace {

// A run has a handful of stages; more marks than this come from a damaged file.
constexpr size_t kStageMarksMax = 1024;
constexpr size_t kKeyBytesMax = 200;

// Smallest power of two that leaves at most points_max points of a series with two points a bucket.
uint32_t BucketRows(const std::vector<MetricPoint>& points, size_t points_max) {
  const uint64_t span = uint64_t{points.back().row} - points.front().row + 1;
  const uint64_t buckets = std::max<size_t>(1, points_max / 2);
  uint64_t width = 1;
  while (width * buckets < span) width *= 2;
  return static_cast<uint32_t>(std::min<uint64_t>(width, uint64_t{1} << 31));
}

bool Wanted(const v1::MetricsRequest& request, const std::string& key) {
  if (request.keys().empty()) return true;
  return std::any_of(request.keys().begin(), request.keys().end(), [&](absl::string_view wanted) {
    return absl::ConsumeSuffix(&wanted, "*") ? absl::StartsWith(key, wanted) : key == wanted;
  });
}

}  // namespace

std::vector<MetricPoint> ThinToMinMax(const std::vector<MetricPoint>& points,
                                      uint32_t bucket_rows) {
  R1_CHECK(bucket_rows > 0);
  std::vector<MetricPoint> kept;
  for (size_t begin = 0; begin < points.size();) {
    const uint32_t bucket = points[begin].row / bucket_rows;
    constexpr size_t kNone = SIZE_MAX;
    size_t smallest = kNone;
    size_t largest = kNone;
    size_t not_finite = kNone;
    size_t end = begin;
    for (; end < points.size() && points[end].row / bucket_rows == bucket; ++end) {
      const double value = points[end].value;
      if (!std::isfinite(value)) {
        not_finite = std::min(not_finite, end);
        continue;
      }
      if (smallest == kNone || value < points[smallest].value) smallest = end;
      if (largest == kNone || value > points[largest].value) largest = end;
    }
    for (size_t i = begin; i < end; ++i) {
      const bool last = i + 1 == points.size();
      if (i == smallest || i == largest || i == not_finite || last) kept.push_back(points[i]);
    }
    begin = end;
  }
  return kept;
}

MetricHistory::MetricHistory(Limits limits) : limits_(limits) {
  R1_CHECK(limits.points_max >= 16);  // thinning can always get below three quarters of it
}

void MetricHistory::AddRow(const MetricsRow& row) {
  ++rows_;
  const std::string stage_name = ReplaceInvalidUtf8(row.stage);
  if (stages_.empty() || stages_.back().stage() != stage_name) {
    latest_.clear();
    if (stages_.size() < kStageMarksMax) {
      v1::StageMark& mark = stages_.emplace_back();
      mark.set_stage(stage_name);
      mark.set_first_row(rows_);
    }
  }
  for (const auto& [name, value] : row.values) {
    const std::string key = ReplaceInvalidUtf8(absl::string_view(name).substr(0, kKeyBytesMax));
    const auto found = series_.find(key);
    if (found == series_.end() && series_.size() == limits_.series_max) {
      ++ignored_;
      continue;
    }
    Series& series = found == series_.end() ? series_[key] : found->second;
    const uint32_t step = static_cast<uint32_t>(std::max<int64_t>(0, row.step));
    AddPoint(series, {.row = rows_, .step = step, .value = value});
    latest_[key] = value;
  }
}

void MetricHistory::AddPoint(Series& series, const MetricPoint& point) const {
  series.points.push_back(point);
  if (series.points.size() <= limits_.points_max) return;
  // Wide enough that thinning is rare: down to three quarters at least.
  while (series.points.size() > limits_.points_max / 4 * 3) {
    series.points = ThinToMinMax(series.points, series.bucket_rows);
    if (series.points.size() > limits_.points_max / 4 * 3) series.bucket_rows *= 2;
  }
}

absl::StatusOr<v1::MetricsReply> MetricHistory::Read(const v1::MetricsRequest& request) const {
  if (request.since() < 0 || request.points_max() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics: since and points_max must not be negative, found ", request.since(),
                     " and ", request.points_max()));
  }
  v1::MetricsReply reply;
  reply.set_rows(rows_);
  for (const v1::StageMark& mark : stages_) *reply.add_stages() = mark;
  for (const auto& [key, series] : series_) {
    if (!Wanted(request, key)) continue;
    const auto first =
        std::upper_bound(series.points.begin(), series.points.end(), request.since(),
                         [](int64_t since, const MetricPoint& point) { return since < point.row; });
    std::vector<MetricPoint> points(first, series.points.end());
    if (points.empty()) continue;
    const size_t points_max = static_cast<size_t>(request.points_max());
    if (points_max > 0 && points.size() > points_max) {
      points = ThinToMinMax(points, BucketRows(points, points_max));
    }
    v1::MetricSeries& out = *reply.add_series();
    out.set_key(key);
    for (const MetricPoint& point : points) {
      out.add_row(point.row);
      out.add_step(point.step);
      out.add_value(point.value);
    }
  }
  return reply;
}

}  // namespace r1::learner
