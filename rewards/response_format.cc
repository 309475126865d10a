#include "rewards/response_format.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace r1::rewards {
namespace {

constexpr absl::string_view kTags[] = {"<think>", "</think>", "<answer>", "</answer>"};

// The index in kTags of the tag that the text begins with, or -1.
int TagAt(absl::string_view text) {
  for (int tag = 0; tag < 4; ++tag) {
    if (absl::StartsWith(text, kTags[tag])) return tag;
  }
  return -1;
}

// Takes the text up to the next tag off the front.
absl::string_view TakeBody(absl::string_view& text) {
  size_t at = text.find('<');
  while (at != absl::string_view::npos && TagAt(text.substr(at)) < 0) at = text.find('<', at + 1);
  const absl::string_view body = text.substr(0, at);
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
  response = absl::StripLeadingAsciiWhitespace(response);
  if (!absl::ConsumePrefix(&response, "<answer>")) return mismatch("no_answer_open");
  parsed.answer = TakeBody(response);
  if (!absl::ConsumePrefix(&response, "</answer>")) return mismatch("no_answer_close");
  if (!absl::StripLeadingAsciiWhitespace(response).empty()) return mismatch("text_after_answer");
  parsed.matches = true;
  parsed.reason = "match";
  return parsed;
}

absl::string_view ThinkingOf(absl::string_view response, bool think_prefilled) {
  constexpr absl::string_view kOpen = "<think>";
  if (!think_prefilled) {
    const size_t open = response.find(kOpen);
    if (open != absl::string_view::npos) response.remove_prefix(open + kOpen.size());
  }
  response = response.substr(0, response.find("</think>"));
  return response.substr(0, response.find("<answer>"));
}

std::array<size_t, 4> CountTags(absl::string_view response) {
  std::array<size_t, 4> counts = {};
  for (;;) {
    (void)TakeBody(response);
    if (response.empty()) return counts;
    const int tag = TagAt(response);
    ++counts[static_cast<size_t>(tag)];
    response.remove_prefix(kTags[tag].size());
  }
}

}  // namespace r1::rewards
