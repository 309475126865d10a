// Published layouts of programming sets, as a prompt and the columns that the reward `code` reads
// (docs/code_reward.md). One function a layout; docs/evaluation.md lists their columns.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/jsonl.h"
#include "common/status.h"

namespace r1 {

struct CodeRow {
  std::string id;
  std::string prompt;
  nlohmann::ordered_json columns;
  std::optional<double> rating;
  std::string left_out;  // why the row is no problem that can be judged; empty when it is one
};

// openai/human-eval: task_id, prompt, entry_point, test.
[[nodiscard]] absl::StatusOr<CodeRow> ReadHumanEvalRow(const JsonlRow& row);

// google-research/mbpp: task_id, text or prompt, test_list, and test_setup_code or test_imports.
[[nodiscard]] absl::StatusOr<CodeRow> ReadMbppRow(const JsonlRow& row);

// livecodebench/code_generation_lite: question_id, question_content, starter_code, contest_date,
// public_test_cases, private_test_cases, metadata. Private tests may be packed as published:
// base64 of zlib of a pickled string, of which nothing is executed.
struct DateWindow {
  std::string from, to;  // "2024-08-01", both included; empty = no bound
};
[[nodiscard]] absl::StatusOr<CodeRow> ReadLiveCodeBenchRow(const JsonlRow& row,
                                                           const DateWindow& window);

// open-r1/codeforces: id, title, description, input_format, output_format, note, examples,
// official_tests, time_limit, memory_limit, rating; a problem with a generated_checker is left out.
[[nodiscard]] absl::StatusOr<CodeRow> ReadCodeforcesRow(const JsonlRow& row,
                                                        const std::string& language);

// The text of the pickled, compressed, base64-coded string `packed`: the one form that published
// private tests have. InvalidArgument for anything else; ResourceExhausted beyond `bytes_max`.
[[nodiscard]] absl::StatusOr<std::string> UnpackPickledText(absl::string_view packed,
                                                            size_t bytes_max);

}  // namespace r1
