// JSON from files and peers: bounded, without exceptions, and with errors that name the key. A thin
// layer over nlohmann::json, whose exceptions never leave json.cc.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1 {

// Objects and arrays inside each other; deeper text is refused.
inline constexpr int kJsonDepthMax = 64;

// One JSON value. InvalidArgument, with `where` (a path, or path:line) in front: bad syntax,
// invalid UTF-8, a number outside double's range, nesting beyond kJsonDepthMax, or a key that an
// object holds twice.
[[nodiscard]] absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text,
                                                       absl::string_view where);

// One line without a line break; invalid UTF-8 becomes U+FFFD.
std::string DumpJson(const nlohmann::json& value);

// A string in quotes with its escapes.
std::string JsonString(absl::string_view text);

// What was found, for an error message: a short value as it stands, else its kind and size.
std::string DescribeJson(const nlohmann::json& value);

// Reads typed fields of one object. Borrows it. Every getter takes what a missing key stands for,
// or nullopt when the key is required; null counts as missing. InvalidArgument: "where: key:
// expected …, found …".
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  struct Range {
    int64_t min;
    int64_t max;
  };
  [[nodiscard]] absl::StatusOr<int64_t> Integer(
      const std::string& key, Range range, std::optional<int64_t> missing = std::nullopt) const;
  // Finite and positive.
  [[nodiscard]] absl::StatusOr<double> PositiveNumber(
      const std::string& key, std::optional<double> missing = std::nullopt) const;
  [[nodiscard]] absl::StatusOr<bool> Bool(const std::string& key,
                                          std::optional<bool> missing = std::nullopt) const;
  [[nodiscard]] absl::StatusOr<std::string> String(
      const std::string& key, std::optional<std::string> missing = std::nullopt) const;

  bool Has(const std::string& key) const { return object_.contains(key); }
  // Null when the key is absent or null.
  const nlohmann::json* FindOrNull(const std::string& key) const;
  absl::Status Error(const std::string& key, absl::string_view expected) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace r1
