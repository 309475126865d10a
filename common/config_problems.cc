// A name in a file may hold line breaks, and a problem must stay one line; so they are escaped
// here, once.
#include "common/config_problems.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace r1 {

void ConfigProblems::Add(const ConfigPosition& position, const std::string& path,
                         absl::string_view what) {
  paths_.insert(path);
  AddLine(position, absl::StrCat(position.text, ": ", path, path.empty() ? "" : ": ", what));
}

void ConfigProblems::AddLine(const ConfigPosition& position, absl::string_view line) {
  std::string one_line = absl::StrReplaceAll(line, {{"\n", "\\n"}, {"\r", "\\r"}});
  if (lines_.insert(one_line).second) problems_.push_back({position, std::move(one_line)});
}

bool ConfigProblems::AnyIn(const std::string& path) const {
  const auto is_in = [&](const std::string& other) {
    return other == path || absl::StartsWith(other, path + ".");
  };
  return std::any_of(paths_.begin(), paths_.end(), is_in);
}

absl::Status ConfigProblems::ToStatus() const {
  if (problems_.empty()) return absl::OkStatus();
  std::vector<Problem> sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Problem& a, const Problem& b) { return a.position < b.position; });
  return absl::InvalidArgumentError(absl::StrJoin(
      sorted, "\n", [](std::string* out, const Problem& problem) { *out += problem.line; }));
}

}  // namespace r1
