// The problems of one pass over a config, collected by the loader and the checks.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config_tree.h"
#include "common/status.h"

namespace r1 {

class ConfigProblems {
 public:
  // "position: path: what". The same line twice is one problem.
  void Add(const ConfigPosition& position, const std::string& path, absl::string_view what);
  // A problem of config_tree.h, which says where it is; `position` only sorts it.
  void AddLine(const ConfigPosition& position, absl::string_view line);

  // Whether a field at this path or inside this section has a problem; what depends on it is then
  // not worth checking.
  bool AnyIn(const std::string& path) const;

  // OK, or InvalidArgument with all lines in the order of the file.
  absl::Status ToStatus() const;

 private:
  struct Problem {
    ConfigPosition position;
    std::string line;
  };
  std::vector<Problem> problems_;
  std::set<std::string> lines_;
  std::set<std::string> paths_;
};

}  // namespace r1
