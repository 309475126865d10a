// The JSON of the status API: text of any bytes, once repaired, comes back from an independent
// parser as it was; text that was not repaired is refused, never printed. Input: 8 bytes of a
// double, then a text.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "common/proto_json.h"
#include "common/status.h"
#include "common/utf8.h"
#include "proto/status.pb.h"

namespace {

using nlohmann::json;

json ParseOrDie(const std::string& text) {
  const json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  R1_CHECK(!parsed.is_discarded());
  return parsed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  double value = 0;
  if (size < sizeof(value)) return 0;
  std::memcpy(&value, data, sizeof(value));
  const std::string text(reinterpret_cast<const char*>(data) + sizeof(value), size - sizeof(value));

  r1::v1::SampleRecord raw;
  raw.set_text(text);
  R1_CHECK(r1::MessageToJson(raw).ok() == r1::IsValidUtf8(text));

  const std::string repaired = r1::ReplaceInvalidUtf8(text);
  R1_CHECK(r1::IsValidUtf8(repaired));
  r1::v1::SamplesReply reply;
  r1::v1::SampleRecord& sample = *reply.add_samples();
  sample.set_text(repaired);
  sample.set_reward(value);
  sample.add_parts()->set_reason(repaired);
  const auto printed = r1::MessageToJson(reply);
  R1_CHECK(printed.ok());
  const json parsed = ParseOrDie(*printed)["samples"][0];
  R1_CHECK(parsed["text"] == repaired);
  R1_CHECK(parsed["parts"][0]["reason"] == repaired);
  const json& reward = parsed["reward"];
  R1_CHECK(std::isfinite(value) ? reward.is_number() && reward.get<double>() == value
                                : reward.is_string());

  R1_CHECK(ParseOrDie(r1::ErrorToJson(absl::InternalError(text)))["error"].is_string());
  return 0;
}
