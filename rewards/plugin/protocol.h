// The lines that r1 and a reward plugin exchange, one JSON object each (docs/add_a_reward.md):
//
//   r1      {"r1_reward": 1, "name": "judge", "config": {…}}                      at the start
//   plugin  {"r1_reward": 1}
//   r1      {"id": 7, "timeout_ms": 30000, "samples": [{"prompt": "…", "response": "…", …}, …]}
//   plugin  {"id": 7, "scores": [0.5, {"score": 1, "reason": "…", "parts": {…}}, {"error": "…"}]}
//
// Both ends are here, so that the host of shared libraries speaks as r1 does. Everything that comes
// from the other side is checked; errors are InvalidArgument and say what was expected.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "rewards/reward.h"

namespace r1::rewards {

inline constexpr int64_t kRewardProtocolVersion = 1;
// Longest line that is read from a plugin.
inline constexpr size_t kReplyBytesMax = size_t{16} << 20;
inline constexpr size_t kPartsMax = 32;
inline constexpr size_t kPartNameBytesMax = 64;

std::string HelloLine(const std::string& name, const std::string& config_json);
[[nodiscard]] absl::Status CheckHelloReply(absl::string_view line);

std::string RequestLine(int64_t id, double timeout_seconds,
                        std::span<const RewardInput* const> samples);
// One score a sample, in their order; a sample that the plugin failed on has an `error`. Values are
// finite numbers, reasons printable words, parts at most kPartsMax.
[[nodiscard]] absl::StatusOr<std::vector<Score>> ParseReply(absl::string_view line, int64_t id,
                                                            size_t samples);

// What a plugin in C++ reads: the fields of one sample of a request.
struct RequestSample {
  std::string prompt, response, prediction, answer, language, columns_json;
  bool finished = true;
  bool think_prefilled = false;
  int64_t n_tokens = -1;  // not known
};
struct Request {
  int64_t id = 0;
  int64_t timeout_ms = 0;
  std::vector<RequestSample> samples;
};
// The config of the line that begins the exchange.
[[nodiscard]] absl::StatusOr<std::string> ParseHello(absl::string_view line);
std::string HelloReplyLine();
[[nodiscard]] absl::StatusOr<Request> ParseRequest(absl::string_view line);
std::string ReplyLine(int64_t id, std::span<const Score> scores);

// A reason as a printable word: other characters become '_', and it is cut at 99 bytes. Empty:
// "scored".
std::string PrintableReason(absl::string_view reason);

}  // namespace r1::rewards
