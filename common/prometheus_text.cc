#include "common/prometheus_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status.h"
#include "common/utf8.h"

namespace r1 {
namespace {

bool IsName(absl::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// The shortest decimal that reads back as the same double.
std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value);
  R1_CHECK(end.ec == std::errc());
  return std::string(digits, end.ptr);
}

const char* TypeName(PrometheusType type) {
  switch (type) {
    case PrometheusType::kCounter:
      return "counter";
    case PrometheusType::kGauge:
      return "gauge";
    case PrometheusType::kHistogram:
      return "histogram";
  }
  return "untyped";
}

}  // namespace

PrometheusHistogram::PrometheusHistogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {
  R1_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()));
}

void PrometheusHistogram::Observe(double value) {
  if (!std::isfinite(value)) return;
  // A bound belongs to its bucket: "le" is less or equal.
  ++counts_[std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin()];
  sum_ += value;
}

void PrometheusText::BeginFamily(const std::string& name, PrometheusType type,
                                 absl::string_view help) {
  R1_CHECK(IsName(name));
  R1_CHECK(std::find(families_.begin(), families_.end(), name) == families_.end());
  families_.push_back(name);
  type_ = type;
  absl::StrAppend(&text_, "# HELP ", name, " ",
                  absl::StrReplaceAll(help, {{"\\", "\\\\"}, {"\n", "\\n"}}), "\n");
  absl::StrAppend(&text_, "# TYPE ", name, " ", TypeName(type), "\n");
}

void PrometheusText::AddSample(const PrometheusLabels& labels, double value) {
  R1_CHECK(type_ != PrometheusType::kHistogram);
  AddLine("", labels, value);
}

void PrometheusText::AddHistogram(const PrometheusLabels& labels,
                                  const PrometheusHistogram& histogram) {
  R1_CHECK(type_ == PrometheusType::kHistogram);
  uint64_t cumulative = 0;
  PrometheusLabels bucket = labels;
  bucket.emplace_back("le", "");
  for (size_t i = 0; i < histogram.counts().size(); ++i) {
    cumulative += histogram.counts()[i];
    bucket.back().second = i < histogram.bounds().size() ? Number(histogram.bounds()[i]) : "+Inf";
    AddLine("_bucket", bucket, static_cast<double>(cumulative));
  }
  AddLine("_sum", labels, histogram.sum());
  AddLine("_count", labels, static_cast<double>(cumulative));
}

void PrometheusText::AddLine(absl::string_view suffix, const PrometheusLabels& labels,
                             double value) {
  R1_CHECK(!families_.empty());
  absl::StrAppend(&text_, families_.back(), suffix);
  char separator = '{';
  for (const auto& [name, label] : labels) {
    R1_CHECK(IsName(name));
    absl::StrAppend(&text_, std::string(1, separator), name, "=\"",
                    absl::StrReplaceAll(ReplaceInvalidUtf8(label),
                                        {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
                    "\"");
    separator = ',';
  }
  absl::StrAppend(&text_, labels.empty() ? "" : "}", " ", Number(value), "\n");
}

}  // namespace r1
