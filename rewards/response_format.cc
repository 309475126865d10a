#include "rewards/response_format.h"

#include "absl/strings/strip.h"

namespace r1::rewards {
namespace {

// Takes the text up to the next "<" off the front.
absl::string_view TakeBody(absl::string_view& text) {
  const absl::string_view body = text.substr(0, text.find('<'));
  text.remove_prefix(body.size());
  return body;
}

}  // namespace

ParsedResponse ParseResponse(absl::string_view response, bool finished, bool think_prefilled) {
  const auto mismatch = [](const char* reason) { return ParsedResponse{.reason = reason}; };
  if (!finished) return mismatch("unfinished");
  ParsedResponse parsed;
  if (!think_prefilled && !absl::ConsumePrefix(&response, "<think>")) {
    return mismatch("no_think_open");
  }
  parsed.think = TakeBody(response);
  if (!absl::ConsumePrefix(&response, "</think>")) return mismatch("no_think_close");
  if (!absl::ConsumePrefix(&response, "<answer>")) return mismatch("no_answer_open");
  parsed.answer = TakeBody(response);
  if (!absl::ConsumePrefix(&response, "</answer>")) return mismatch("no_answer_close");
  if (!response.empty()) return mismatch("text_after_answer");
  parsed.matches = true;
  parsed.reason = "match";
  return parsed;
}

}  // namespace r1::rewards
