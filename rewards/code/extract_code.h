// The program in a model's whole output: the last fenced block (``` or ~~~, as in CommonMark) of
// the language after the thinking, else the last block that names no language. In time linear in
// the output's length.
#pragma once

#include "absl/strings/string_view.h"

namespace r1::rewards::code {

enum class Language { kPython, kCpp };

struct CodeExtraction {
  bool found = false;
  absl::string_view text = {};     // part of the response
  const char* reason = "no_code";  // why there is none: "no_code", "unclosed_think"
};

// `think_prefilled`: the prompt opened <think>, so the response begins inside of it.
CodeExtraction ExtractCode(absl::string_view response, bool think_prefilled, Language language);

}  // namespace r1::rewards::code
