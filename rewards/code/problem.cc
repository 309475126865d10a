#include "rewards/code/problem.h"

#include <algorithm>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace r1::rewards::code {
namespace {

using JsonKind = ExactJson::Kind;

constexpr size_t kTestsMax = 10000;

absl::Status Expected(absl::string_view column, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(column, ": expected ", what));
}

// Absent and null are the same.
const ExactJson* Find(const ExactJson& object, absl::string_view key) {
  const ExactJson* const found = object.FindOrNull(key);
  return found == nullptr || found->kind == JsonKind::kNull ? nullptr : found;
}

absl::StatusOr<std::string> GetString(const ExactJson& object, absl::string_view key) {
  const ExactJson* const found = Find(object, key);
  if (found == nullptr) return std::string();
  if (found->kind != JsonKind::kString) return Expected(key, "a string");
  return found->text;
}

absl::StatusOr<double> GetNumber(const ExactJson& object, absl::string_view key, double missing,
                                 double min, double max) {
  const ExactJson* const found = Find(object, key);
  if (found == nullptr) return missing;
  double number = 0;
  const bool is_number = found->kind == JsonKind::kInteger || found->kind == JsonKind::kFloat;
  if (!is_number || !absl::SimpleAtod(found->text, &number) || !(number >= min && number <= max)) {
    return Expected(key, absl::StrCat("a number in [", min, ", ", max, "]"));
  }
  return number;
}

absl::Status ParseLanguage(const std::string& name, CodeProblem& problem) {
  const auto is_one_of = [&name](std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (is_one_of({"", "python", "python3", "py", "Python"})) return absl::OkStatus();
  problem.language = Language::kCpp;
  if (is_one_of({"cpp", "c++", "cpp17", "c++17", "C++", "C++17"})) return absl::OkStatus();
  problem.standard = "20";
  if (is_one_of({"cpp20", "c++20", "C++20"})) return absl::OkStatus();
  return Expected("lang", "\"python\", \"cpp\" (C++17), \"cpp17\" or \"cpp20\"");
}

absl::StatusOr<Kind> ParseKind(const std::string& name, const ExactJson& first_test) {
  if (name == "stdio") return Kind::kStdio;
  if (name == "function") return Kind::kFunction;
  if (name == "assert_main") return Kind::kAssertMain;
  if (!name.empty()) return Expected("kind", "\"stdio\", \"function\" or \"assert_main\"");
  if (Find(first_test, "output") != nullptr) return Kind::kStdio;
  if (Find(first_test, "args") != nullptr) return Kind::kFunction;
  if (Find(first_test, "main") != nullptr) return Kind::kAssertMain;
  return Expected("tests", "{\"input\", \"output\"}, {\"args\", \"expected\"} or {\"main\"}");
}

absl::StatusOr<CodeTest> ParseTest(const ExactJson& row, Kind kind) {
  CodeTest test;
  if (kind == Kind::kStdio) {
    R1_ASSIGN_OR_RETURN(test.input, GetString(row, "input"));
    // An expected output that is missing would be passed by printing nothing.
    if (Find(row, "output") == nullptr) return Expected("tests.output", "a string");
    R1_ASSIGN_OR_RETURN(test.output, GetString(row, "output"));
  } else if (kind == Kind::kFunction) {
    const ExactJson* const arguments = Find(row, "args");
    const ExactJson* const expected = row.FindOrNull("expected");  // null is a value here
    if (arguments == nullptr ||
        (arguments->kind != JsonKind::kArray && arguments->kind != JsonKind::kObject)) {
      return Expected("tests.args", "an array of arguments");
    }
    if (expected == nullptr) return Expected("tests.expected", "a value");
    test.arguments = arguments->Dump();
    test.expected = *expected;
  } else {
    R1_ASSIGN_OR_RETURN(test.main, GetString(row, "main"));
    if (test.main.empty()) return Expected("tests.main", "the text of a test");
  }
  return test;
}

absl::Status ParseLimits(const ExactJson& columns, JobLimits& limits) {
  const ExactJson none{.kind = JsonKind::kObject, .text = {}, .items = {}, .keys = {}};
  const ExactJson* const given = Find(columns, "limits");
  if (given != nullptr && given->kind != JsonKind::kObject) return Expected("limits", "an object");
  const ExactJson& object = given != nullptr ? *given : none;
  R1_ASSIGN_OR_RETURN(const double time_ms,
                      GetNumber(object, "time_ms", 1e3 * limits.cpu_seconds, 1, 600e3));
  // Others may need the processor as well.
  R1_ASSIGN_OR_RETURN(const double wall_ms,
                      GetNumber(object, "wall_ms", 3 * time_ms + 2000, 1, 3600e3));
  R1_ASSIGN_OR_RETURN(const double memory_mb, GetNumber(object, "memory_mb", 512, 16, 65536));
  R1_ASSIGN_OR_RETURN(const double output_kb, GetNumber(object, "output_kb", 1024, 1, 1 << 20));
  R1_ASSIGN_OR_RETURN(const double processes,
                      GetNumber(object, "processes", limits.processes, 1, 4096));
  limits.cpu_seconds = time_ms / 1e3;
  limits.wall_seconds = wall_ms / 1e3;
  limits.memory_bytes = static_cast<uint64_t>(memory_mb * (1 << 20));
  limits.output_bytes = static_cast<uint64_t>(output_kb * (1 << 10));
  limits.processes = static_cast<uint32_t>(processes);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CodeProblem> ParseProblem(absl::string_view columns_json) {
  const std::optional<ExactJson> columns = ParseExactJson(columns_json);
  if (!columns || columns->kind != JsonKind::kObject) return Expected("columns", "a JSON object");
  CodeProblem problem;
  R1_ASSIGN_OR_RETURN(const std::string language, GetString(*columns, "lang"));
  R1_RETURN_IF_ERROR(ParseLanguage(language, problem));
  const ExactJson* tests = Find(*columns, "tests");
  std::optional<ExactJson> unpacked;
  if (tests != nullptr && tests->kind == JsonKind::kString) {
    // Many data sets hold their tests as a string of JSON.
    unpacked = ParseExactJson(tests->text);
    tests = unpacked ? &*unpacked : nullptr;
  }
  if (tests == nullptr || tests->kind != JsonKind::kArray || tests->items.empty() ||
      tests->items.size() > kTestsMax) {
    return Expected("tests", absl::StrCat("an array of 1 to ", kTestsMax, " tests"));
  }
  R1_ASSIGN_OR_RETURN(const std::string kind, GetString(*columns, "kind"));
  R1_ASSIGN_OR_RETURN(problem.kind, ParseKind(kind, tests->items[0]));
  for (const ExactJson& row : tests->items) {
    R1_ASSIGN_OR_RETURN(problem.tests.emplace_back(), ParseTest(row, problem.kind));
  }
  R1_ASSIGN_OR_RETURN(problem.entry_point, GetString(*columns, "entry_point"));
  if (problem.kind == Kind::kFunction && problem.entry_point.empty()) {
    return Expected("entry_point", "the name of the function");
  }
  R1_ASSIGN_OR_RETURN(problem.setup, GetString(*columns, "setup"));
  R1_ASSIGN_OR_RETURN(problem.tolerance, GetNumber(*columns, "float_tolerance", 0, 0, 1));
  R1_RETURN_IF_ERROR(ParseLimits(*columns, problem.limits));
  return problem;
}

}  // namespace r1::rewards::code
