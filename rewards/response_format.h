// The response grammar of R1-Zero's template (2501.12948, table 1), which `format` and
// `exact_match` share:
//
//   <think> body </think> space <answer> body </answer> space
//
// and nothing else. A body is any text without these four tags, so that each tag occurs once; space
// is ASCII white space, or nothing. Read by hand in one pass over the bytes.
#pragma once

#include <array>
#include <cstddef>

#include "absl/strings/string_view.h"

namespace r1::rewards {

struct ParsedResponse {
  bool matches = false;
  // "match", or the first rule that failed: "unfinished", "no_think_open", "no_think_close",
  // "no_answer_open", "no_answer_close", "text_after_answer".
  const char* reason = "";
  // Bodies, when it matches.
  absl::string_view think = {};
  absl::string_view answer = {};
};

// `finished`: the model ended its turn; a response that was cut does not match. `think_prefilled`:
// the prompt opened <think>, so the response begins with its body.
ParsedResponse ParseResponse(absl::string_view response, bool finished, bool think_prefilled);

// The thinking of any response: what stands in <think>…</think>, and all of it up to </think> or
// <answer> where a tag is missing.
absl::string_view ThinkingOf(absl::string_view response, bool think_prefilled);

// How often each tag occurs: <think>, </think>, <answer>, </answer>.
std::array<size_t, 4> CountTags(absl::string_view response);

}  // namespace r1::rewards
