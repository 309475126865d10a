// Prometheus' text exposition format 0.0.4: "# HELP", "# TYPE" and sample lines. The writer takes
// families in the order in which they are begun and puts the samples of one together, as the format
// demands. Not thread-safe.
//
//   PrometheusText text;
//   text.BeginFamily("r1_queue_depth", PrometheusType::kGauge, "Groups in a queue.");
//   text.AddSample({{"queue", "accepted"}}, 12);
//   text.Finish();  // the body; serve it as kPrometheusContentType
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace r1 {

inline constexpr char kPrometheusContentType[] = "text/plain; version=0.0.4; charset=utf-8";

enum class PrometheusType { kCounter, kGauge, kHistogram };

// Names are our own identifiers; values may be any text and are escaped.
using PrometheusLabels = std::vector<std::pair<std::string, std::string>>;

// Counts of observations below fixed bounds. Not thread-safe.
class PrometheusHistogram {
 public:
  // Upper bounds, ascending; +Inf is added.
  explicit PrometheusHistogram(std::vector<double> bounds);
  // Observations that are not finite are ignored: they would make the sum useless for ever.
  void Observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  // Not cumulative; one more than bounds().
  const std::vector<uint64_t>& counts() const { return counts_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
};

class PrometheusText {
 public:
  // The name must match [a-zA-Z_][a-zA-Z0-9_]* and be new: our own identifiers, so anything else is
  // a bug.
  void BeginFamily(const std::string& name, PrometheusType type, absl::string_view help);
  // A sample of the family begun last, which is no histogram.
  void AddSample(const PrometheusLabels& labels, double value);
  // The buckets, sum and count of the family begun last, which is a histogram.
  void AddHistogram(const PrometheusLabels& labels, const PrometheusHistogram& histogram);
  // The whole body.
  std::string Finish() { return std::move(text_); }

 private:
  void AddLine(absl::string_view suffix, const PrometheusLabels& labels, double value);

  std::string text_;
  std::vector<std::string> families_;
  PrometheusType type_ = PrometheusType::kGauge;
};

}  // namespace r1
