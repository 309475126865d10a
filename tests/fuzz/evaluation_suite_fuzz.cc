// A suite file, followed after a NUL byte by one --set override, and so on. What is accepted must
// print as TOML that loads again as the same suite; what is refused must say where, on every line.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/evaluation/suite.h"
#include "common/status.h"

namespace r1 {
namespace {

void CheckSuiteText(const std::string& text, const std::vector<std::string>& overrides) {
  const absl::StatusOr<LoadedSuite> loaded = LoadSuiteText("s.toml", text, overrides);
  if (loaded.ok()) {
    const auto again = LoadSuiteText("s.toml", ConfigToToml(loaded->suite), {});
    R1_CHECK(again.ok());
    R1_CHECK(again->suite.SerializeAsString() == loaded->suite.SerializeAsString());
    return;
  }
  R1_CHECK(loaded.status().code() == absl::StatusCode::kInvalidArgument);
  for (const absl::string_view line : absl::StrSplit(loaded.status().message(), '\n')) {
    const bool has_position =
        absl::StartsWith(line, "s.toml:") || absl::StartsWith(line, "--set '");
    R1_CHECK(has_position);
    R1_CHECK(absl::StrContains(line, ": "));
  }
}

}  // namespace
}  // namespace r1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> parts = absl::StrSplit(input, '\0');
  const std::string text = parts[0];
  parts.erase(parts.begin());
  r1::CheckSuiteText(text, parts);
  return 0;
}
