// The final answer in a model's whole output, in time linear in its length. Looked for, in this
// order, in what follows the thinking (and inside <answer> where there is one):
//
//   the last \boxed{…} or \fbox{…} that closes, or \boxed 5; boxes side by side are one list
//   "final answer is", then "answer is", "Answer:", "####", 答案, 故选, 所以: the last of them
//   the last ```output block, of a model that runs code
//   the last LaTeX span or the last number, whichever ends later
//
// Thinking that does not close leaves no answer.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace r1::rewards::math {

struct Extraction {
  bool found = false;
  std::string text = {};
  // "box", "phrase", "output", "span", "number"; or why there is none: "unclosed_think",
  // "no_answer".
  const char* source = "no_answer";
};

// `think_prefilled`: the prompt opened <think>, so the response begins inside of it.
Extraction ExtractAnswer(absl::string_view response, bool think_prefilled);

}  // namespace r1::rewards::math
