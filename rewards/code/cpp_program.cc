#include "rewards/code/cpp_program.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "rewards/code/harness_texts.h"

namespace r1::rewards::code {
namespace {

// The call of the entry point: `f`, or `Class.method`.
std::string FunctionPointer(absl::string_view entry_point) {
  return absl::StrCat("&", absl::StrReplaceAll(entry_point, {{".", "::"}}));
}

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

// Without line splices and with every comment a space, so that directives can be read off. Literals
// are kept whole.
std::string JoinedLines(absl::string_view code) {
  const std::string spliced = absl::StrReplaceAll(code, {{"\\\r\n", ""}, {"\\\n", ""}});
  std::string joined;
  for (size_t i = 0; i < spliced.size();) {
    const absl::string_view rest = absl::string_view(spliced).substr(i);
    if (absl::StartsWith(rest, "//")) {
      i = std::min(spliced.find('\n', i), spliced.size());
    } else if (absl::StartsWith(rest, "/*")) {
      const size_t end = spliced.find("*/", i + 2);
      i = end == std::string::npos ? spliced.size() : end + 2;
      joined += ' ';
    } else {
      joined += spliced[i++];
    }
  }
  return joined;
}

// The standard assert would come back with its header.
std::string WithoutAssertHeader(absl::string_view test) {
  std::string kept;
  for (const absl::string_view line : absl::StrSplit(test, '\n')) {
    const std::string squeezed = absl::StrReplaceAll(line, {{" ", ""}, {"\t", ""}, {"\r", ""}});
    const bool is_header = absl::StartsWith(squeezed, "#include<assert.h>") ||
                           absl::StartsWith(squeezed, "#include<cassert>");
    absl::StrAppend(&kept, is_header ? "" : line, "\n");
  }
  return kept;
}

}  // namespace

std::string UndefineMacros(absl::string_view code) {
  // Read twice: as it is, and without comments. A name too many does no harm, and so a comment's
  // beginning inside of a string cannot hide a directive.
  std::set<std::string> names;
  const std::string spliced = absl::StrReplaceAll(code, {{"\\\r\n", ""}, {"\\\n", ""}});
  for (const std::string& text : {spliced, JoinedLines(code)}) {
    for (size_t at = text.find("define"); at != std::string::npos;
         at = text.find("define", at + 1)) {
      size_t begin = at + 6;
      while (begin < text.size() && (text[begin] == ' ' || text[begin] == '\t')) ++begin;
      size_t end = begin;
      while (end < text.size() && IsNameCharacter(text[end])) ++end;
      if (end > begin && !absl::ascii_isdigit(static_cast<unsigned char>(text[begin]))) {
        names.insert(text.substr(begin, end - begin));
      }
    }
  }
  names.erase("defined");
  std::string lines;
  for (const std::string& name : names) absl::StrAppend(&lines, "#undef ", name, "\n");
  return lines;
}

std::string MakeCppProgram(const CodeProblem& problem, absl::string_view code,
                           absl::string_view test_main, absl::string_view token) {
  const char* const kHeader = "#include <bits/stdc++.h>\n";
  constexpr char kCodeLine[] = "\n#line 1 \"main.cc\"\n";
  if (problem.kind == Kind::kStdio) {
    return absl::StrCat(kHeader, problem.setup, kCodeLine, code, "\n");
  }
  const bool is_function = problem.kind == Kind::kFunction;
  const std::string name = absl::StrCat("r1_test_", token);
  std::string program = absl::StrCat(
      kHeader, "#include <unistd.h>\n",
      is_function ? CallHarness() : absl::StrReplaceAll(TestHarness(), {{"R1_TEST", name}}),
      problem.setup, "\n#define main r1_program_main", kCodeLine, code, "\n", UndefineMacros(code),
      "#undef main\n#line 1 \"test.cc\"\n");
  if (is_function) {
    return absl::StrCat(program, "int main() { r1_call::Call(",
                        FunctionPointer(problem.entry_point), "); _Exit(0); }\n");
  }
  absl::StrAppend(&program, "#undef assert\n#define assert(...) ((__VA_ARGS__) ? (void)0 : ", name,
                  "::Fail())\n");
  const std::string& entry = problem.entry_point;
  if (!entry.empty() && std::all_of(entry.begin(), entry.end(), IsNameCharacter)) {
    absl::StrAppend(&program, "#define ", entry, "(...) ", name, "::Checked(", entry,
                    "(__VA_ARGS__))\n");
  }
  // Only the name main may end without a return statement; with optimisation, another that does
  // goes anywhere.
  absl::StrAppend(
      &program, "#pragma GCC optimize(\"O0\")\n#define main ", name, "_main\n",
      WithoutAssertHeader(test_main), "\n#undef main\nint main() {\n  ", name,
      "_main();\n  const char token[] = \"", token,
      "\";\n  if (write(4, token, sizeof(token) - 1) < 0) _Exit(98);\n  _Exit(0);\n}\n");
  return program;
}

}  // namespace r1::rewards::code
