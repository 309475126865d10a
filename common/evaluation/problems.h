// The problems of an evaluation: rows of a JSONL file, by the suite's column names or in the
// published layout of a set, as prompts with what their rewards need.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "proto/evaluation.pb.h"

namespace r1 {

struct EvaluationProblem {
  std::string id;                // the suite's id column, or the line
  std::string prompt;            // the user's message: the problem in the suite's template
  std::string answer;            // gold; empty for programs, which have tests
  std::string columns_json;      // for the rewards: the row, or the tests of a program
  std::optional<double> rating;  // difficulty of a contest problem
};

struct EvaluationData {
  std::vector<EvaluationProblem> problems;
  std::string sha256;  // of the file
  // Rows that are no problems of this suite, by reason: "outside of the dates", "needs a checker".
  std::map<std::string, int64_t> left_out;
};

// The first `limit` problems of the file. NotFound; InvalidArgument with path:line for the first
// row that cannot be used, for an id that occurs twice, and for a file without problems.
[[nodiscard]] absl::StatusOr<EvaluationData> ReadProblems(const v1::EvaluationSuite& suite,
                                                          const std::string& path, int64_t limit);

}  // namespace r1
