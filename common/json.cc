#include "common/json.h"

#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::json;

constexpr size_t kShownBytesMax = 200;

// nlohmann's message without its "[json.exception.…] " prefix. It may quote the input, hence the
// escape and the cut.
std::string Reason(const json::exception& error) {
  absl::string_view what = error.what();
  const size_t prefix_end = what.find("] ");
  if (prefix_end != absl::string_view::npos) what.remove_prefix(prefix_end + 2);
  const std::string quoted = Quoted(what, kShownBytesMax);
  return quoted.substr(1, quoted.size() - 2);
}

// Thrown through nlohmann's parser by the checks below, and caught where the parser is called.
struct Refused {
  std::string reason;
};

// Refuses deep nesting and repeated keys while the text is parsed, before a value of such a text
// exists.
class Checker {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        keys_.emplace_back();
        [[fallthrough]];
      case json::parse_event_t::array_start:
        if (depth >= kJsonDepthMax) {
          throw Refused{absl::StrCat("nested deeper than ", kJsonDepthMax, " levels")};
        }
        break;
      case json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second) {
          throw Refused{absl::StrCat("key ", Quoted(key), " occurs twice in one object")};
        }
        break;
      }
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::array_end:
      case json::parse_event_t::value:
        break;
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

absl::StatusOr<json> ParseJson(absl::string_view text, absl::string_view where) {
  Checker checker;
  try {
    return json::parse(text.begin(), text.end(), std::ref(checker));
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", Reason(error)));
  } catch (const Refused& refused) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", refused.reason));
  }
}

std::string DumpJson(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string JsonString(absl::string_view text) { return DumpJson(std::string(text)); }

std::string DescribeJson(const json& value) {
  switch (value.type()) {
    case json::value_t::object:
      return absl::StrCat("an object of ", value.size(), " keys");
    case json::value_t::array:
      return absl::StrCat("an array of ", value.size(), " elements");
    case json::value_t::string:
      return Quoted(value.get_ref<const std::string&>());
    default:
      return DumpJson(value);
  }
}

const json* JsonFields::FindOrNull(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonFields::Error(const std::string& key, absl::string_view expected) const {
  const auto found = object_.find(key);
  return absl::InvalidArgumentError(
      absl::StrCat(where_, ": ", key, ": expected ", expected, ", found ",
                   found == object_.end() ? "no such key" : DescribeJson(*found)));
}

absl::StatusOr<int64_t> JsonFields::Integer(const std::string& key, Range range,
                                            std::optional<int64_t> missing) const {
  const json* value = FindOrNull(key);
  if (value == nullptr && missing.has_value()) return *missing;
  // nlohmann keeps what exceeds int64 as unsigned; such a value lies outside of every range here.
  const bool fits = value != nullptr && value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX);
  if (!fits || value->get<int64_t>() < range.min || value->get<int64_t>() > range.max) {
    return Error(key, absl::StrCat("an integer in ", range.min, "..", range.max));
  }
  return value->get<int64_t>();
}

absl::StatusOr<double> JsonFields::PositiveNumber(const std::string& key,
                                                  std::optional<double> missing) const {
  const json* value = FindOrNull(key);
  if (value == nullptr && missing.has_value()) return *missing;
  if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>()) ||
      value->get<double>() <= 0) {
    return Error(key, "a number above 0");
  }
  return value->get<double>();
}

absl::StatusOr<bool> JsonFields::Bool(const std::string& key, std::optional<bool> missing) const {
  const json* value = FindOrNull(key);
  if (value == nullptr && missing.has_value()) return *missing;
  if (value == nullptr || !value->is_boolean()) return Error(key, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(const std::string& key,
                                               std::optional<std::string> missing) const {
  const json* value = FindOrNull(key);
  if (value == nullptr && missing.has_value()) return *std::move(missing);
  if (value == nullptr || !value->is_string()) return Error(key, "a string");
  return value->get<std::string>();
}

}  // namespace r1
