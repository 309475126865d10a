// The lines of reward plugins, from both sides. Input: a byte that chooses the line and the number
// of samples, then the line.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rewards/plugin/protocol.h"

namespace {

using r1::rewards::Score;

constexpr int64_t kId = 7;

// A reply that is accepted holds only what rewards promise, and survives being written again.
void CheckReply(const std::string& line, size_t samples) {
  const auto scores = r1::rewards::ParseReply(line, kId, samples);
  if (!scores.ok()) return;
  R1_CHECK(scores->size() == samples);
  for (const Score& score : *scores) {
    R1_CHECK(std::isfinite(score.value));
    R1_CHECK(!score.reason.empty() && score.reason.size() < 100);
    for (const char c : score.reason) R1_CHECK(c > ' ' && c <= '~');
    R1_CHECK(score.masked == !score.error.empty());
    R1_CHECK(score.parts.size() <= r1::rewards::kPartsMax);
    for (const auto& [name, value] : score.parts) R1_CHECK(std::isfinite(value) && !name.empty());
  }
  const auto again = r1::rewards::ParseReply(r1::rewards::ReplyLine(kId, *scores), kId, samples);
  R1_CHECK(again.ok());
  for (size_t i = 0; i < samples; ++i) {
    R1_CHECK((*again)[i].value == (*scores)[i].value);
    R1_CHECK((*again)[i].reason == (*scores)[i].reason);
    R1_CHECK((*again)[i].parts == (*scores)[i].parts);
    R1_CHECK((*again)[i].error.empty() == (*scores)[i].error.empty());
  }
}

void CheckRequest(const std::string& line) {
  const auto request = r1::rewards::ParseRequest(line);
  if (!request.ok()) return;
  for (const auto& sample : request->samples) {
    const r1::rewards::RewardInput input{.prompt = sample.prompt,
                                         .response = sample.response,
                                         .prediction = sample.prediction,
                                         .answer = sample.answer,
                                         .columns_json = sample.columns_json};
    const std::vector<const r1::rewards::RewardInput*> inputs = {&input};
    const auto again = r1::rewards::ParseRequest(r1::rewards::RequestLine(1, 1, inputs));
    R1_CHECK(again.ok());
    R1_CHECK(again->samples[0].response == sample.response);
    R1_CHECK(again->samples[0].columns_json == sample.columns_json);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string line(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      CheckReply(line, data[0] / 4 % 4);
      break;
    case 1:
      CheckRequest(line);
      break;
    case 2:
      (void)r1::rewards::CheckHelloReply(line);
      break;
    default:
      (void)r1::rewards::ParseHello(line);
  }
  // Any text becomes a reason.
  R1_CHECK(!r1::rewards::PrintableReason(line).empty());
  return 0;
}
