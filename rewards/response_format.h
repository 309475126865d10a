// The response grammar of R1-Zero's template, which `format` and `exact_match` share:
//
//   <think> body </think><answer> body </answer>      a body is any text without "<"
//
// and nothing before, between or after. Each tag therefore occurs once. Matched by hand in one
// pass.
#pragma once

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

}  // namespace r1::rewards
