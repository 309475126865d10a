// The one translation unit in which g++ sees a C++ program with what calls it.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "rewards/code/problem.h"

namespace r1::rewards::code {

// For kStdio the program as it is. For kFunction, followed by a main that reads the arguments from
// descriptor 3 and writes the result to 4, both JSON. For kAssertMain, followed by the test, whose
// main is called by one that writes `token` to 4 when it has returned 0.
std::string MakeCppProgram(const CodeProblem& problem, absl::string_view code,
                           absl::string_view test_main, absl::string_view token);

// `#undef NAME` for each macro that the text defines, so that it changes nothing that follows.
std::string UndefineMacros(absl::string_view code);

}  // namespace r1::rewards::code
