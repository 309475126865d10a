// The prose of a model's output: what is left when mathematics, code and addresses are taken out.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace r1::rewards {

// The text with each of these replaced by a space, or by a line break where it stands in lines of
// its own: fenced blocks (``` …, to the end when they do not close), `code` within a line, LaTeX
// between $, $$, \( \), \[ \] and \begin{…} \end{…}, LaTeX commands, and addresses (https://…). The
// arguments of \text, \textbf and \emph stay. In time linear in the length.
std::string ProseOf(absl::string_view text);

}  // namespace r1::rewards
