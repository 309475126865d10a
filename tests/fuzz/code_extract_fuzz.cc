// The program found in any output, and what is made of any program, problem and result. Input: a
// flag byte (bit 0: think_prefilled, bit 1: C++), then the text.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "rewards/code/compare_output.h"
#include "rewards/code/cpp_program.h"
#include "rewards/code/exact_json.h"
#include "rewards/code/extract_code.h"
#include "rewards/code/problem.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace r1::rewards::code;  // NOLINT
  if (size == 0) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Language language = (data[0] & 2) != 0 ? Language::kCpp : Language::kPython;
  const CodeExtraction extraction = ExtractCode(text, (data[0] & 1) != 0, language);
  if (extraction.found) {
    R1_CHECK(extraction.text.begin() >= text.begin());
    R1_CHECK(extraction.text.end() <= text.end());
    R1_CHECK(!absl::StrContains(extraction.text, "</think>"));
  }
  // Each line is one directive, whatever the code holds.
  const std::string lines = UndefineMacros(text);
  for (size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1) {
    R1_CHECK(lines.compare(at, 7, "#undef ") == 0);
  }
  R1_CHECK(EqualOutputs(text, text, 0));
  if (const auto json = ParseExactJson(text)) {
    const auto again = ParseExactJson(json->Dump());
    R1_CHECK(again.has_value());
    R1_CHECK(json->Dump() == again->Dump());
  }
  (void)ParseProblem(text);
  return 0;
}
