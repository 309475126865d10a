// Messages as JSON: valid for every parser, whatever the strings and numbers are.

#include "common/proto_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "proto/status.pb.h"

namespace r1 {
namespace {

using nlohmann::json;

json Parsed(const google::protobuf::Message& message) {
  const auto text = MessageToJson(message);
  EXPECT_TRUE(text.ok()) << text.status();
  return json::parse(*text);
}

TEST(ProtoJsonTest, NamesAreThoseOfTheProtoAndDefaultsArePrinted) {
  const json status = Parsed(v1::RunStatus());
  EXPECT_EQ(status["phase_seconds"], 0.0);
  EXPECT_EQ(status["policy_version"], "0");  // 64 bits: a string
  EXPECT_EQ(status["stage_index"], 0);
  EXPECT_EQ(status["workers"], json::array());
  EXPECT_EQ(status["ready"], false);
}

TEST(ProtoJsonTest, NumbersThatAreNotFiniteAreStrings) {
  v1::MetricSeries series;
  series.add_value(std::nan(""));
  series.add_value(std::numeric_limits<double>::infinity());
  series.add_value(-std::numeric_limits<double>::infinity());
  series.add_value(0.1);
  EXPECT_EQ(Parsed(series)["value"], json::parse(R"(["NaN", "Infinity", "-Infinity", 0.1])"));
}

TEST(ProtoJsonTest, HostileTextSurvivesUnchanged) {
  v1::SampleRecord sample;
  std::string text = "</script><script>alert(1)</script>\"\\\b\f\n\r\t \u202E \u2028 \U0001F600";
  text.push_back('\0');
  text.push_back('\x1B');
  sample.set_text(text);
  EXPECT_EQ(Parsed(sample)["text"], text);
}

TEST(ProtoJsonTest, InvalidUtf8IsAnErrorWhereverItStands) {
  v1::SamplesReply reply;
  v1::SampleRecord& sample = *reply.add_samples();
  EXPECT_TRUE(MessageToJson(reply).ok());
  sample.add_parts()->set_reason("\xC0\x80");
  EXPECT_EQ(MessageToJson(reply).status().code(), absl::StatusCode::kInternal);
  v1::RunStatus status;
  status.add_awaited_from("\xFF");
  EXPECT_EQ(MessageToJson(status).status().code(), absl::StatusCode::kInternal);
  v1::RunStatus latest;
  (*latest.mutable_latest())["\xFF"] = 1;
  EXPECT_EQ(MessageToJson(latest).status().code(), absl::StatusCode::kInternal);
}

TEST(ProtoJsonTest, ErrorsAreJsonToo) {
  EXPECT_EQ(json::parse(ErrorToJson(absl::InvalidArgumentError("a \"b\"\n\xFF")))["error"],
            "a \"b\"\n\xEF\xBF\xBD");
}

}  // namespace
}  // namespace r1
