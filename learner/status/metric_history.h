// The curves of a run in bounded memory. A series that grows too long is thinned: its rows are cut
// into buckets of equal width, and of each bucket the smallest and the largest value stay, so that
// a curve drawn from them has every spike. The whole truth is metrics.jsonl; this is what the
// status page draws.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/status.h"
#include "learner/metrics.h"
#include "proto/status.pb.h"

namespace r1::learner {

struct MetricPoint {
  uint32_t row = 0;
  uint32_t step = 0;
  double value = 0;
};

// Of the points in each bucket of rows [k * bucket_rows, (k + 1) * bucket_rows), those with the
// smallest and the largest finite value stay, and the first that is not finite. The very last point
// always stays: it is the present value.
std::vector<MetricPoint> ThinToMinMax(const std::vector<MetricPoint>& points, uint32_t bucket_rows);

// Not thread-safe: StatusBoard holds its lock.
class MetricHistory {
 public:
  struct Limits {
    size_t points_max = 4096;  // of a series; at least 16
    size_t series_max = 512;   // further keys are counted and ignored
  };
  explicit MetricHistory(Limits limits);

  // One row of metrics.jsonl. Rows count from 1 in the order of these calls.
  void AddRow(const MetricsRow& row);

  // InvalidArgument: since or points_max is negative.
  [[nodiscard]] absl::StatusOr<v1::MetricsReply> Read(const v1::MetricsRequest& request) const;

  uint32_t rows() const { return rows_; }
  // Newest values of the stage that the last row belongs to.
  const std::map<std::string, double>& latest() const { return latest_; }
  // Values that were dropped because of series_max.
  uint64_t ignored() const { return ignored_; }

 private:
  struct Series {
    std::vector<MetricPoint> points;
    uint32_t bucket_rows = 1;  // width at which it was last thinned
  };
  void AddPoint(Series& series, const MetricPoint& point) const;

  const Limits limits_;
  uint32_t rows_ = 0;
  uint64_t ignored_ = 0;
  std::map<std::string, Series> series_;
  std::map<std::string, double> latest_;
  std::vector<v1::StageMark> stages_;
};

}  // namespace r1::learner
