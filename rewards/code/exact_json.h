// JSON values with their numbers as they are written, so that integers of any size keep all their
// digits: what arguments, results and expected results of functions are compared as.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace r1::rewards::code {

struct ExactJson {
  enum class Kind { kNull, kBool, kInteger, kFloat, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  std::string text;               // of a bool ("true", "false"), number or string
  std::vector<ExactJson> items;   // of an array or object
  std::vector<std::string> keys;  // of an object, one for each item

  const ExactJson* FindOrNull(absl::string_view key) const;
  std::string Dump() const;
};

// Nothing when the text is not one JSON value (NaN and Infinity count as floats), or is nested more
// than 100 deep.
std::optional<ExactJson> ParseExactJson(absl::string_view text);

// Same kinds, same values; the order of members does not matter. With a tolerance, a number pair
// with a float in it is equal within |a - b| <= tolerance * max(1, |b|).
bool Equal(const ExactJson& found, const ExactJson& expected, double tolerance);

}  // namespace r1::rewards::code
