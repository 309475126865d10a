// The Prometheus writer, read again by a strict reader.

#include "common/prometheus_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/common/prometheus_parser.h"

namespace r1 {
namespace {

PrometheusBody Parse(const std::string& text) {
  std::string error;
  const auto body = PrometheusParser::Parse(text, &error);
  EXPECT_TRUE(body.has_value()) << error;
  return body.value_or(PrometheusBody{});
}

TEST(PrometheusTextTest, WritesHelpTypeAndSamplesInOrder) {
  PrometheusText text;
  text.BeginFamily("r1_step", PrometheusType::kGauge, "Steps done.");
  text.AddSample({}, 12);
  text.BeginFamily("r1_groups_total", PrometheusType::kCounter, "Groups.");
  text.AddSample({{"outcome", "trained"}}, 3);
  text.AddSample({{"outcome", "failed"}, {"rank", "0"}}, 0);
  EXPECT_EQ(text.Finish(),
            "# HELP r1_step Steps done.\n"
            "# TYPE r1_step gauge\n"
            "r1_step 12\n"
            "# HELP r1_groups_total Groups.\n"
            "# TYPE r1_groups_total counter\n"
            "r1_groups_total{outcome=\"trained\"} 3\n"
            "r1_groups_total{outcome=\"failed\",rank=\"0\"} 0\n");
}

TEST(PrometheusTextTest, LabelsOfAnyBytesComeBackAsValidUtf8) {
  const std::string hostile = "a\\b\"c\nd} 1\n# TYPE evil counter\n<script>\xFF caf\xC3\xA9";
  PrometheusText text;
  text.BeginFamily("r1_metric", PrometheusType::kGauge, "Help with \\ and\nline break.");
  text.AddSample({{"key", hostile}}, 1);
  const PrometheusBody body = Parse(text.Finish());
  ASSERT_EQ(body.samples.size(), 1u);
  EXPECT_EQ(body.samples[0].labels.at("key"),
            "a\\b\"c\nd} 1\n# TYPE evil counter\n<script>\xEF\xBF\xBD caf\xC3\xA9");
  EXPECT_EQ(body.help.at("r1_metric"), "Help with \\\\ and\\nline break.");
}

TEST(PrometheusTextTest, NumbersReadBackExactly) {
  const double values[] = {0,
                           -0.0,
                           1.0 / 3,
                           5e-324,
                           1.7976931348623157e308,
                           1732312345.678901,
                           std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()};
  PrometheusText text;
  text.BeginFamily("r1_value", PrometheusType::kGauge, "A value.");
  for (const double value : values) text.AddSample({{"i", "x"}}, value);
  text.AddSample({}, std::nan(""));
  const PrometheusBody body = Parse(text.Finish());
  ASSERT_EQ(body.samples.size(), std::size(values) + 1);
  for (size_t i = 0; i < std::size(values); ++i) EXPECT_EQ(body.samples[i].value, values[i]);
  EXPECT_TRUE(std::isnan(body.samples.back().value));
}

TEST(PrometheusHistogramTest, BucketsAreCumulativeAndBoundsBelongToTheirBucket) {
  PrometheusHistogram histogram({1, 10, 100});
  for (const double value : {0.5, 1.0, 1.5, 10.0, 99.0, 100.5, 1e9}) histogram.Observe(value);
  histogram.Observe(std::nan(""));  // ignored
  PrometheusText text;
  text.BeginFamily("r1_length", PrometheusType::kHistogram, "Length.");
  text.AddHistogram({{"phase", "train"}}, histogram);
  const PrometheusBody body = Parse(text.Finish());
  ASSERT_EQ(body.samples.size(), 6u);
  const double expected[] = {2, 4, 5, 7};
  const char* bounds[] = {"1", "10", "100", "+Inf"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body.samples[i].name, "r1_length_bucket");
    EXPECT_EQ(body.samples[i].labels.at("le"), bounds[i]);
    EXPECT_EQ(body.samples[i].labels.at("phase"), "train");
    EXPECT_EQ(body.samples[i].value, expected[i]);
  }
  EXPECT_EQ(body.samples[4].name, "r1_length_sum");
  EXPECT_DOUBLE_EQ(body.samples[4].value, 212.5 + 1e9);
  EXPECT_EQ(body.samples[5].name, "r1_length_count");
  EXPECT_EQ(body.samples[5].value, 7);
}

TEST(PrometheusTextDeathTest, ABadOrRepeatedNameIsABug) {
  PrometheusText text;
  EXPECT_DEATH(text.BeginFamily("9lives", PrometheusType::kGauge, ""), "check failed");
  EXPECT_DEATH(text.BeginFamily("a:b", PrometheusType::kGauge, ""), "check failed");
  text.BeginFamily("r1_step", PrometheusType::kGauge, "");
  EXPECT_DEATH(text.BeginFamily("r1_step", PrometheusType::kGauge, ""), "check failed");
}

}  // namespace
}  // namespace r1
