#include "common/evaluation/code_rows.h"

#include <zlib.h>

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/json.h"

namespace r1 {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kUnpackedBytesMax = size_t{1} << 30;

// The list at a key, which may also stand there as a string of JSON; empty when it is missing.
absl::StatusOr<json> ListAt(const JsonFields& fields, const std::string& key) {
  const json* value = fields.FindOrNull(key);
  if (value == nullptr) return json::array();
  json list = *value;
  if (value->is_string()) {
    R1_ASSIGN_OR_RETURN(list, ParseJson(value->get_ref<const std::string&>(), key));
  }
  if (!list.is_array()) return fields.Error(key, "a list");
  return list;
}

absl::StatusOr<std::string> JoinedLines(const JsonFields& fields, const std::string& key) {
  R1_ASSIGN_OR_RETURN(const json list, ListAt(fields, key));
  std::string text;
  for (const json& line : list) {
    if (!line.is_string()) return fields.Error(key, "a list of strings");
    absl::StrAppend(&text, line.get_ref<const std::string&>(), "\n");
  }
  return text;
}

// A text, or a number as it stands.
absl::StatusOr<std::string> IdAt(const JsonFields& fields, const std::string& key) {
  const json* value = fields.FindOrNull(key);
  if (value != nullptr && value->is_number_integer()) return value->dump();
  return fields.String(key);
}

struct Test {
  std::string input, output;
};

absl::StatusOr<Test> ReadTest(const json& test, const JsonFields& fields, const std::string& key) {
  if (!test.is_object()) return fields.Error(key, "a list of {input, output}");
  const JsonFields parts(test, key);
  Test read;
  R1_ASSIGN_OR_RETURN(read.input, parts.String("input"));
  R1_ASSIGN_OR_RETURN(read.output, parts.String("output"));
  return read;
}

// The tests of a function as text, for their integers may have any size: one argument a line.
std::string FunctionTests(const std::vector<Test>& tests) {
  std::vector<std::string> rows;
  for (const Test& test : tests) {
    const std::vector<absl::string_view> arguments = absl::StrSplit(test.input, '\n');
    rows.push_back(absl::StrCat("{\"args\": [", absl::StrJoin(arguments, ", "),
                                "], \"expected\": ", test.output, "}"));
  }
  return absl::StrCat("[", absl::StrJoin(rows, ", "), "]");
}

ordered_json StdioTests(const std::vector<Test>& tests) {
  ordered_json rows = ordered_json::array();
  for (const Test& test : tests) rows.push_back({{"input", test.input}, {"output", test.output}});
  return rows;
}

absl::StatusOr<std::string> Inflate(const std::string& packed, size_t bytes_max) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) return absl::ResourceExhaustedError("zlib: no memory");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  std::vector<char> piece(1 << 16);
  int status = Z_OK;
  while (status == Z_OK && text.size() <= bytes_max) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    status = inflate(&stream, Z_NO_FLUSH);
    text.append(piece.data(), piece.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  if (text.size() > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("expected at most ", bytes_max, " unpacked bytes, found more"));
  }
  if (status != Z_STREAM_END) {
    return absl::InvalidArgumentError("expected zlib data in base64, found something else");
  }
  return text;
}

uint64_t LittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// The string of a pickle that holds nothing else: PROTO, FRAME, BINUNICODE of some length, MEMOIZE
// or BINPUT, STOP (Python's pickletools). Everything else could run code in Python.
absl::StatusOr<std::string> PickledString(absl::string_view pickle) {
  const auto take = [&pickle](size_t bytes) {
    const absl::string_view head = pickle.substr(0, bytes);
    pickle.remove_prefix(head.size());
    return head;
  };
  if (absl::StartsWith(pickle, "\x80")) take(2);
  if (absl::StartsWith(pickle, "\x95")) take(9);
  const absl::string_view opcode = take(1);
  const size_t length_bytes = opcode == "\x8c" ? 1 : opcode == "X" ? 4 : opcode == "\x8d" ? 8 : 0;
  const uint64_t length = LittleEndian(take(length_bytes));
  if (length_bytes == 0 || length > pickle.size()) {
    return absl::InvalidArgumentError("expected a pickle of one string, found another");
  }
  const absl::string_view text = take(length);
  if (absl::StartsWith(pickle, "\x94")) take(1);
  if (absl::StartsWith(pickle, "q")) take(2);
  if (pickle != ".") {
    return absl::InvalidArgumentError("expected a pickle of one string, found more in it");
  }
  return std::string(text);
}

absl::Status AddTests(const json& list, const JsonFields& fields, const std::string& key,
                      std::vector<Test>& tests, bool& is_function) {
  for (const json& item : list) {
    R1_ASSIGN_OR_RETURN(tests.emplace_back(), ReadTest(item, fields, key));
    is_function = is_function || item.value("testtype", json("stdin")) == json("functional");
  }
  return absl::OkStatus();
}

absl::StatusOr<json> PrivateTests(const JsonFields& fields) {
  const std::string key = "private_test_cases";
  const json* value = fields.FindOrNull(key);
  if (value == nullptr || !value->is_string()) return ListAt(fields, key);
  const std::string& text = value->get_ref<const std::string&>();
  if (text.empty() || text[0] == '[') return ListAt(fields, key);
  const absl::StatusOr<std::string> unpacked = UnpackPickledText(text, kUnpackedBytesMax);
  if (!unpacked.ok()) return fields.Error(key, unpacked.status().message());
  R1_ASSIGN_OR_RETURN(json list, ParseJson(*unpacked, key));
  if (!list.is_array()) return fields.Error(key, "a packed list");
  return list;
}

}  // namespace

absl::StatusOr<std::string> UnpackPickledText(absl::string_view packed, size_t bytes_max) {
  std::string compressed;
  if (!absl::Base64Unescape(packed, &compressed)) {
    return absl::InvalidArgumentError("expected a list of tests or base64, found neither");
  }
  R1_ASSIGN_OR_RETURN(const std::string pickle, Inflate(compressed, bytes_max));
  return PickledString(pickle);
}

absl::StatusOr<CodeRow> ReadHumanEvalRow(const JsonlRow& row) {
  const JsonFields fields(row.object, row.where);
  CodeRow read;
  R1_ASSIGN_OR_RETURN(read.id, IdAt(fields, "task_id"));
  R1_ASSIGN_OR_RETURN(read.prompt, fields.String("prompt"));
  R1_ASSIGN_OR_RETURN(const std::string entry_point, fields.String("entry_point"));
  R1_ASSIGN_OR_RETURN(const std::string test, fields.String("test"));
  read.columns = {{"lang", "python"},
                  {"kind", "assert_main"},
                  {"entry_point", entry_point},
                  {"setup", read.prompt},
                  {"tests", {{{"main", test}}}}};
  return read;
}

absl::StatusOr<CodeRow> ReadMbppRow(const JsonlRow& row) {
  const JsonFields fields(row.object, row.where);
  CodeRow read;
  R1_ASSIGN_OR_RETURN(read.id, IdAt(fields, "task_id"));
  const bool is_sanitized = fields.FindOrNull("text") == nullptr;
  R1_ASSIGN_OR_RETURN(const std::string text, fields.String(is_sanitized ? "prompt" : "text"));
  R1_ASSIGN_OR_RETURN(const std::string setup_code, fields.String("test_setup_code", ""));
  R1_ASSIGN_OR_RETURN(const std::string imports, JoinedLines(fields, "test_imports"));
  R1_ASSIGN_OR_RETURN(const json asserts, ListAt(fields, "test_list"));
  ordered_json tests = ordered_json::array();
  read.prompt = absl::StrCat(text, "\n\nYour code should pass these tests:\n\n");
  for (const json& line : asserts) {
    if (!line.is_string()) return fields.Error("test_list", "a list of assertions");
    tests.push_back({{"main", line}});
    absl::StrAppend(&read.prompt, line.get_ref<const std::string&>(), "\n");
  }
  if (tests.empty()) return fields.Error("test_list", "at least one assertion");
  read.columns = {{"lang", "python"},
                  {"kind", "assert_main"},
                  {"setup", absl::StrCat(imports, setup_code, "\n")},
                  {"tests", std::move(tests)}};
  return read;
}

absl::StatusOr<CodeRow> ReadLiveCodeBenchRow(const JsonlRow& row, const DateWindow& window) {
  const JsonFields fields(row.object, row.where);
  CodeRow read;
  R1_ASSIGN_OR_RETURN(read.id, IdAt(fields, "question_id"));
  R1_ASSIGN_OR_RETURN(const std::string date, fields.String("contest_date"));
  // Days in this form are ordered as texts are.
  const std::string day = date.substr(0, 10);
  if (day.size() < 10) return fields.Error("contest_date", "a date as in 2024-08-01");
  if (day < window.from || (!window.to.empty() && day > window.to)) {
    read.left_out = "outside of the dates";
    return read;
  }
  R1_ASSIGN_OR_RETURN(const std::string content, fields.String("question_content"));
  R1_ASSIGN_OR_RETURN(const std::string starter, fields.String("starter_code", ""));
  R1_ASSIGN_OR_RETURN(const json public_tests, ListAt(fields, "public_test_cases"));
  R1_ASSIGN_OR_RETURN(const json private_tests, PrivateTests(fields));
  std::vector<Test> tests;
  bool is_function = false;
  R1_RETURN_IF_ERROR(AddTests(public_tests, fields, "public_test_cases", tests, is_function));
  R1_RETURN_IF_ERROR(AddTests(private_tests, fields, "private_test_cases", tests, is_function));
  if (tests.empty()) return fields.Error("public_test_cases", "at least one test");
  if (!is_function) {
    read.prompt = absl::StrCat(content,
                               "\n\nThe program reads from standard input and writes to standard "
                               "output.");
    read.columns = {{"lang", "python"}, {"kind", "stdio"}, {"tests", StdioTests(tests)}};
    return read;
  }
  R1_ASSIGN_OR_RETURN(const std::string metadata_text, fields.String("metadata"));
  R1_ASSIGN_OR_RETURN(const json metadata, ParseJson(metadata_text, "metadata"));
  if (!metadata.is_object()) return fields.Error("metadata", "a JSON object as text");
  R1_ASSIGN_OR_RETURN(
      const std::string function,
      JsonFields(metadata, absl::StrCat(row.where, ": metadata")).String("func_name"));
  read.prompt = absl::StrCat(content, "\n\nComplete this code:\n\n```python\n", starter, "\n```");
  read.columns = {{"lang", "python"},
                  {"kind", "function"},
                  {"entry_point", function},
                  {"tests", FunctionTests(tests)}};
  return read;
}

absl::StatusOr<CodeRow> ReadCodeforcesRow(const JsonlRow& row, const std::string& language) {
  const JsonFields fields(row.object, row.where);
  CodeRow read;
  R1_ASSIGN_OR_RETURN(read.id, IdAt(fields, "id"));
  R1_ASSIGN_OR_RETURN(const std::string checker, fields.String("generated_checker", ""));
  if (!checker.empty()) {
    read.left_out = "needs a checker";
    return read;
  }
  R1_ASSIGN_OR_RETURN(const json official, ListAt(fields, "official_tests"));
  std::vector<Test> tests;
  bool is_function = false;
  R1_RETURN_IF_ERROR(AddTests(official, fields, "official_tests", tests, is_function));
  if (tests.empty()) {
    read.left_out = "has no tests";
    return read;
  }
  R1_ASSIGN_OR_RETURN(const std::string title, fields.String("title", ""));
  R1_ASSIGN_OR_RETURN(read.prompt, fields.String("description"));
  if (!title.empty()) read.prompt = absl::StrCat(title, "\n\n", read.prompt);
  for (const auto& [key, heading] :
       {std::pair{"input_format", "Input"}, {"output_format", "Output"}, {"note", "Note"}}) {
    R1_ASSIGN_OR_RETURN(const std::string part, fields.String(key, ""));
    if (!part.empty()) absl::StrAppend(&read.prompt, "\n\n", heading, "\n", part);
  }
  R1_ASSIGN_OR_RETURN(const json examples, ListAt(fields, "examples"));
  for (const json& item : examples) {
    R1_ASSIGN_OR_RETURN(const Test example, ReadTest(item, fields, "examples"));
    absl::StrAppend(&read.prompt, "\n\nExample input\n", example.input, "\nExample output\n",
                    example.output);
  }
  R1_ASSIGN_OR_RETURN(const double seconds, fields.PositiveNumber("time_limit", 2));
  R1_ASSIGN_OR_RETURN(const double megabytes, fields.PositiveNumber("memory_limit", 256));
  if (fields.FindOrNull("rating") != nullptr) {
    R1_ASSIGN_OR_RETURN(read.rating, fields.PositiveNumber("rating"));
  }
  read.columns = {{"lang", language},
                  {"kind", "stdio"},
                  {"tests", StdioTests(tests)},
                  {"limits", {{"time_ms", seconds * 1000}, {"memory_mb", megabytes}}}};
  return read;
}

}  // namespace r1
