// A config file as a tree of values that know where they stand, before the schema looks at them;
// and the --set overrides, which change this tree. Everything about TOML's syntax is here;
// config.cc knows the schema.
//
// Every function that can fail reports one problem, "where: [field: ]what", as an InvalidArgument
// message; a name or text in it may hold line breaks.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

// Where a key or value was written.
struct ConfigPosition {
  int source = 0;  // 0 = the file, k = the k-th --set
  int line = 1;
  int column = 1;
  std::string text;  // "configs/x.toml:3:1", or "--set 'run.seed=2'"
};

// Earlier in the file first, then the overrides in their order.
bool operator<(const ConfigPosition& a, const ConfigPosition& b);

struct ConfigEntry;

struct ConfigNode {
  enum class Kind { kBool, kInteger, kFloat, kString, kDate, kList, kTable };

  Kind kind = Kind::kTable;
  ConfigPosition position;
  // The one that `kind` names.
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string string;                // also a date as it was written
  std::vector<ConfigNode> items;     // kList
  std::vector<ConfigEntry> entries;  // kTable, in the order of the file

  const ConfigNode* FindOrNull(absl::string_view key) const;
};

struct ConfigEntry {
  std::string key;
  ConfigPosition position;  // of the key
  ConfigNode value;
};

// Parses TOML. `name` stands in positions. Stops at the first syntax error, as every TOML parser
// does.
[[nodiscard]] absl::StatusOr<ConfigNode> ParseConfigTree(const std::string& name,
                                                         const std::string& text);

// Applies "a.b.c=VALUE", the index-th override (from 1). VALUE is TOML; what is not is taken as a
// string. A key of a list of tables is the `name` of one of them, as in
// stage.rl.grpo.kl_coef=0.001.
[[nodiscard]] absl::Status ApplyOverride(const std::string& override_text, int index,
                                         ConfigNode& root);

// "run" + "seed" = "run.seed".
std::string JoinFieldPath(const std::string& parent, const std::string& key);

// A TOML string with quotes and escapes.
std::string TomlString(absl::string_view text);

// The shortest decimal that reads back as the same double, always with a point or an exponent.
std::string TomlNumber(double value);

// What was found, for error messages: `"abc"`, `64`, `a list`, `a section`; long strings are cut.
std::string DescribeFound(const ConfigNode& node);

}  // namespace r1
