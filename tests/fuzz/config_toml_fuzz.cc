// A config file, followed after a NUL byte by one --set override, and so on. What is accepted must
// print as TOML that loads again as the same message; what is refused must say where, on every
// line.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/config.h"
#include "common/status.h"

namespace r1 {
namespace {

std::string Bits(const v1::Config& config) {
  std::string bits;
  R1_CHECK(config.SerializeToString(&bits));
  return bits;
}

void CheckProblems(const absl::Status& status) {
  R1_CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  R1_CHECK(!status.message().empty());
  for (const absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    const bool has_position =
        absl::StartsWith(line, "c.toml:") || absl::StartsWith(line, "--set '");
    R1_CHECK(has_position);
    R1_CHECK(absl::StrContains(line, ": "));
  }
}

// The file system may hold a file of any name; what a config names is found or not, and the same
// both times.
void CheckConfigText(const std::string& text, const std::vector<std::string>& overrides) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfigText("c.toml", text, overrides);
  if (!loaded.ok()) return CheckProblems(loaded.status());
  const absl::StatusOr<LoadedConfig> again =
      LoadConfigText("c.toml", ConfigToToml(loaded->config), {});
  R1_CHECK(again.ok());
  R1_CHECK(Bits(again->config) == Bits(loaded->config));
  R1_CHECK(ChangedFields(again->config, loaded->config, /*include_safe=*/true).empty());
  R1_CHECK(ConfigDigest(again->config) == ConfigDigest(loaded->config));
  R1_CHECK(!ConfigSummary(loaded->config, 418560).empty());
}

}  // namespace
}  // namespace r1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> parts = absl::StrSplit(input, '\0');
  const std::string text = parts[0];
  parts.erase(parts.begin());
  r1::CheckConfigText(text, parts);
  return 0;
}
