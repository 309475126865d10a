// Template source -> syntax tree. The language is the part of Jinja 3.1 that chat templates use;
// what is left out is refused by name: inheritance and includes, recursive loops, call blocks,
// autoescape, and macros inside loops or macros.
#pragma once

#include "absl/strings/string_view.h"
#include "common/jinja/syntax.h"
#include "common/status.h"

namespace r1::jinja {

// InvalidArgument: "line N: what was expected and found".
[[nodiscard]] absl::StatusOr<Body> ParseTemplate(absl::string_view source);

}  // namespace r1::jinja
