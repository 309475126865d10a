// A programming problem with its tests, from the columns of a data row (docs/code_reward.md):
//
//   {"lang": "python", "kind": "stdio", "tests": [{"input": "1 2\n", "output": "3\n"}]}
//   {"lang": "cpp20", "kind": "function", "entry_point": "add",
//    "tests": [{"args": [1, 2], "expected": 3}], "limits": {"time_ms": 1000}}
//   {"lang": "python", "kind": "assert_main", "entry_point": "add", "setup": "import math\n",
//    "tests": [{"main": "assert add(1, 2) == 3\n"}]}
#pragma once

#include <string>
#include <vector>

#include "common/status.h"
#include "rewards/code/exact_json.h"
#include "rewards/code/extract_code.h"
#include "rewards/code/sandbox/job.h"

namespace r1::rewards::code {

enum class Kind { kStdio, kFunction, kAssertMain };

struct CodeTest {
  std::string input, output;  // kStdio
  std::string arguments;      // kFunction: JSON, an array, or in Python an object of names
  ExactJson expected;
  std::string main;  // kAssertMain
};

struct CodeProblem {
  Language language = Language::kPython;
  const char* standard = "17";  // of C++
  Kind kind = Kind::kStdio;
  std::vector<CodeTest> tests;
  std::string entry_point;  // kFunction: required; `f`, or `Class.method`
  std::string setup;        // goes before the program
  double tolerance = 0;     // of floats; 0 = exact
  JobLimits limits;         // of each test
};

// InvalidArgument says which column was expected to hold what.
[[nodiscard]] absl::StatusOr<CodeProblem> ParseProblem(absl::string_view columns_json);

}  // namespace r1::rewards::code
