// Whether outputs and JSON results are equal, for any two of them: the same both ways, and never
// less with a larger tolerance. Input: a byte (the tolerance), one text up to a NUL, the other.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "rewards/code/compare_output.h"
#include "rewards/code/exact_json.h"

namespace {

using r1::rewards::code::ExactJson;

// NaN equals nothing, itself included.
bool HasNan(const ExactJson& value) {
  if (value.kind == ExactJson::Kind::kFloat && value.text.find('N') != std::string::npos) {
    return true;
  }
  return std::any_of(value.items.begin(), value.items.end(), HasNan);
}

void CheckJson(const ExactJson& a, const ExactJson& b, double tolerance) {
  using r1::rewards::code::Equal;
  R1_CHECK(Equal(a, a, 0) != HasNan(a));
  R1_CHECK(Equal(a, b, 0) == Equal(b, a, 0));
  if (Equal(a, b, 0)) R1_CHECK(Equal(a, b, tolerance));
  if (Equal(a, b, tolerance)) R1_CHECK(Equal(a, b, 2 * tolerance));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace r1::rewards::code;  // NOLINT
  if (size == 0) return 0;
  const double tolerance = data[0] == 0 ? 0 : std::ldexp(1.0, -static_cast<int>(data[0] % 64));
  const absl::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t nul = std::min(input.find('\0'), input.size());
  const absl::string_view a = input.substr(0, nul);
  const absl::string_view b = nul < input.size() ? input.substr(nul + 1) : "";
  R1_CHECK(EqualOutputs(a, a, tolerance));
  R1_CHECK(EqualOutputs(a, b, 0) == EqualOutputs(b, a, 0));
  if (EqualOutputs(a, b, 0)) R1_CHECK(EqualOutputs(a, b, tolerance));
  if (EqualOutputs(a, b, tolerance)) R1_CHECK(EqualOutputs(a, b, 2 * tolerance));
  const auto json_a = ParseExactJson(a), json_b = ParseExactJson(b);
  if (json_a.has_value() && json_b.has_value()) CheckJson(*json_a, *json_b, tolerance);
  return 0;
}
