// The Prometheus writer: whatever help and labels hold, a strict reader finds the same samples
// again. Input: 8 bytes of a double, then texts separated by '|': help, and label values.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/prometheus_text.h"
#include "common/status.h"
#include "common/utf8.h"
#include "tests/common/prometheus_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  double value = 0;
  if (size < sizeof(value)) return 0;
  std::memcpy(&value, data, sizeof(value));
  const absl::string_view rest(reinterpret_cast<const char*>(data) + sizeof(value),
                               size - sizeof(value));
  const std::vector<std::string> texts = absl::StrSplit(rest, absl::MaxSplits('|', 3));

  r1::PrometheusText text;
  text.BeginFamily("r1_gauge", r1::PrometheusType::kGauge, texts[0]);
  for (const std::string& label : texts) text.AddSample({{"label", label}, {"other", "x"}}, value);
  text.BeginFamily("r1_seconds", r1::PrometheusType::kHistogram, "Help.");
  r1::PrometheusHistogram histogram({0.5, 2});
  histogram.Observe(value);
  text.AddHistogram({{"label", texts[0]}}, histogram);

  std::string error;
  const auto body = r1::PrometheusParser::Parse(text.Finish(), &error);
  R1_CHECK(body.has_value());
  R1_CHECK(body->samples.size() == texts.size() + 5);
  for (size_t i = 0; i < texts.size(); ++i) {
    const r1::PrometheusSample& sample = body->samples[i];
    R1_CHECK(sample.labels.at("label") == r1::ReplaceInvalidUtf8(texts[i]));
    R1_CHECK(std::isnan(value) ? std::isnan(sample.value) : sample.value == value);
  }
  R1_CHECK(body->samples.back().value == (std::isfinite(value) ? 1 : 0));
  return 0;
}
