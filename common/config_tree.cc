// toml++ is used header-only and without exceptions (see CMakeLists.txt); this is the only file
// that includes it.
#include "common/config_tree.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <sstream>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/nearest_name.h"

namespace r1 {
namespace {

// The schema is 4 deep. toml++ itself is bounded by the size of the file, which LoadConfig limits.
constexpr int kDepthMax = 32;
constexpr size_t kFoundLengthMax = 60;

using Kind = ConfigNode::Kind;

absl::Status Problem(const ConfigPosition& position, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(position.text, ": ", what));
}

// Turns toml++'s tree into ours; toml++ keeps tables sorted by key, so entries are put back in the
// order of the file.
class TreeBuilder {
 public:
  explicit TreeBuilder(std::string name) : name_(std::move(name)) {}

  ConfigPosition PositionOf(const toml::source_region& region) const {
    const int line = std::max(1, static_cast<int>(region.begin.line));
    const int column = std::max(1, static_cast<int>(region.begin.column));
    return {0, line, column, absl::StrCat(name_, ":", line, ":", column)};
  }

  absl::StatusOr<ConfigNode> Build(const toml::node& node, int depth) const {
    ConfigNode built;
    built.position = PositionOf(node.source());
    if (depth > kDepthMax) return Problem(built.position, "sections are nested too deeply");
    if (const toml::table* table = node.as_table()) {
      R1_ASSIGN_OR_RETURN(built.entries, BuildEntries(*table, depth));
    } else if (const toml::array* array = node.as_array()) {
      built.kind = Kind::kList;
      for (const toml::node& item : *array) {
        R1_ASSIGN_OR_RETURN(ConfigNode value, Build(item, depth + 1));
        built.items.push_back(std::move(value));
      }
    } else {
      BuildScalar(node, built);
    }
    return built;
  }

 private:
  absl::StatusOr<std::vector<ConfigEntry>> BuildEntries(const toml::table& table, int depth) const {
    std::vector<ConfigEntry> entries;
    for (const auto& [key, value] : table) {
      R1_ASSIGN_OR_RETURN(ConfigNode node, Build(value, depth + 1));
      entries.push_back({std::string(key.str()), PositionOf(key.source()), std::move(node)});
    }
    std::stable_sort(
        entries.begin(), entries.end(),
        [](const ConfigEntry& a, const ConfigEntry& b) { return a.position < b.position; });
    return entries;
  }

  static void BuildScalar(const toml::node& node, ConfigNode& built) {
    if (const auto* boolean = node.as_boolean()) {
      built.kind = Kind::kBool;
      built.boolean = boolean->get();
    } else if (const auto* integer = node.as_integer()) {
      built.kind = Kind::kInteger;
      built.integer = integer->get();
    } else if (const auto* number = node.as_floating_point()) {
      built.kind = Kind::kFloat;
      built.number = number->get();
    } else if (const auto* string = node.as_string()) {
      built.kind = Kind::kString;
      built.string = string->get();
    } else {
      std::ostringstream written;
      if (const auto* date = node.as_date()) written << date->get();
      if (const auto* time = node.as_time()) written << time->get();
      if (const auto* date_time = node.as_date_time()) written << date_time->get();
      built.kind = Kind::kDate;
      built.string = written.str();
    }
  }

  const std::string name_;
};

void SetPositions(const ConfigPosition& position, ConfigNode& node) {
  node.position = position;
  for (ConfigNode& item : node.items) SetPositions(position, item);
  for (ConfigEntry& entry : node.entries) {
    entry.position = position;
    SetPositions(position, entry.value);
  }
}

// The one value of "value = TEXT", or nothing when TEXT is no TOML value.
bool ParseValue(const std::string& text, ConfigNode& value) {
  absl::StatusOr<ConfigNode> table = ParseConfigTree("", absl::StrCat("value = ", text));
  if (!table.ok() || table->entries.size() != 1) return false;
  value = std::move(table->entries[0].value);
  return true;
}

absl::StatusOr<ConfigNode> ParseOverrideValue(const std::string& text,
                                              const ConfigPosition& position) {
  ConfigNode value;
  // A bare word is a string; what opens a quote or bracket was meant as TOML.
  const bool bare = !text.empty() && std::string("\"'[{").find(text[0]) == std::string::npos;
  if (!ParseValue(text, value) && !(bare && ParseValue(TomlString(text), value))) {
    return Problem(position,
                   absl::StrCat("expected KEY=VALUE with a TOML value, found ", TomlString(text)));
  }
  SetPositions(position, value);
  return value;
}

// The element of a list of tables whose `name` this is.
absl::StatusOr<ConfigNode*> FindNamedElement(ConfigNode& list, const std::string& name,
                                             const std::string& path,
                                             const ConfigPosition& position) {
  std::vector<std::string> names;
  for (ConfigNode& item : list.items) {
    const ConfigNode* item_name = item.FindOrNull("name");
    if (item_name == nullptr || item_name->kind != Kind::kString) continue;
    if (item_name->string == name) return &item;
    names.push_back(item_name->string);
  }
  const std::string known = names.empty() ? "there is none" : absl::StrJoin(names, ", ");
  return Problem(position, absl::StrCat(path, ": expected the name of a [[", path, "]] (", known,
                                        "), found \"", name, "\"", DidYouMean(name, names)));
}

ConfigNode& FindOrAddEntry(ConfigNode& table, const std::string& key,
                           const ConfigPosition& position) {
  for (ConfigEntry& entry : table.entries) {
    if (entry.key == key) return entry.value;
  }
  table.entries.push_back({key, position, ConfigNode()});
  table.entries.back().value.position = position;
  return table.entries.back().value;
}

}  // namespace

bool operator<(const ConfigPosition& a, const ConfigPosition& b) {
  return std::tie(a.source, a.line, a.column) < std::tie(b.source, b.line, b.column);
}

const ConfigNode* ConfigNode::FindOrNull(absl::string_view key) const {
  for (const ConfigEntry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

absl::StatusOr<ConfigNode> ParseConfigTree(const std::string& name, const std::string& text) {
  const TreeBuilder builder(name);
  const toml::parse_result result = toml::parse(text);
  if (!result) {
    const toml::parse_error& error = result.error();
    return Problem(builder.PositionOf(error.source()),
                   absl::StrCat("TOML syntax: ", std::string(error.description())));
  }
  return builder.Build(result.table(), 0);
}

absl::Status ApplyOverride(const std::string& override_text, int index, ConfigNode& root) {
  const ConfigPosition position = {index, 1, 1, absl::StrCat("--set '", override_text, "'")};
  const size_t equals = override_text.find('=');
  if (equals == std::string::npos) return Problem(position, "expected KEY=VALUE, found no \"=\"");
  const std::string key_text(absl::StripAsciiWhitespace(override_text.substr(0, equals)));
  const std::string value_text(absl::StripAsciiWhitespace(override_text.substr(equals + 1)));
  R1_ASSIGN_OR_RETURN(ConfigNode value, ParseOverrideValue(value_text, position));

  ConfigNode* node = &root;
  std::string path;
  for (const std::string& key : std::vector<std::string>(absl::StrSplit(key_text, '.'))) {
    if (key.empty()) {
      return Problem(position, absl::StrCat("expected a dotted key, found \"", key_text, "\""));
    }
    if (node->kind == Kind::kList) {
      R1_ASSIGN_OR_RETURN(node, FindNamedElement(*node, key, path, position));
    } else if (node->kind == Kind::kTable) {
      node = &FindOrAddEntry(*node, key, position);
    } else {
      return Problem(position,
                     absl::StrCat(path, ": expected a section, found ", DescribeFound(*node)));
    }
    path = JoinFieldPath(path, key);
  }
  *node = std::move(value);
  return absl::OkStatus();
}

std::string JoinFieldPath(const std::string& parent, const std::string& key) {
  return parent.empty() ? key : absl::StrCat(parent, ".", key);
}

std::string TomlString(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\u%04X", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string TomlNumber(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto [end, error] = std::to_chars(std::begin(buffer), std::end(buffer), value);
  R1_CHECK(error == std::errc());
  std::string text(buffer, end);
  // "3e-06" becomes "3e-6", "1e+06" becomes "1e6".
  if (const size_t e = text.find('e'); e != std::string::npos) {
    if (text[e + 1] == '+') text.erase(e + 1, 1);
    const size_t digits = text.find_first_of("0123456789", e);
    if (text[digits] == '0') text.erase(digits, 1);
  }
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string DescribeFound(const ConfigNode& node) {
  switch (node.kind) {
    case Kind::kBool:
      return node.boolean ? "true" : "false";
    case Kind::kInteger:
      return absl::StrCat(node.integer);
    case Kind::kFloat:
      return TomlNumber(node.number);
    case Kind::kString: {
      // Cut between characters, never inside one.
      size_t length = std::min(node.string.size(), kFoundLengthMax);
      while (length < node.string.size() && (node.string[length] & 0xC0) == 0x80) --length;
      return TomlString(node.string.substr(0, length)) + (length < node.string.size() ? "…" : "");
    }
    case Kind::kDate:
      return absl::StrCat("the date ", node.string);
    case Kind::kList:
      return !node.items.empty() && node.items[0].kind == Kind::kTable ? "a list of sections"
                                                                       : "a list";
    case Kind::kTable:
      return "a section";
  }
  R1_CHECK(false);
}

}  // namespace r1
