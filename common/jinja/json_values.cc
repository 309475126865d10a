#include "common/jinja/json_values.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1::jinja {
namespace {

// Builds values from the events of nlohmann's parser; false stops it.
class ValueBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit ValueBuilder(Budget& budget) : budget_(budget) {}

  absl::Status status;
  Value result;

  bool null() override { return Add(Value::None()); }
  bool boolean(bool value) override { return Add(Value::Bool(value)); }
  bool number_integer(number_integer_t value) override { return Add(Value::Integer(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > INT64_MAX) return Add(Value::BigInteger(absl::StrCat(value)));
    return Add(Value::Integer(static_cast<int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // An integer that does not fit 64 bits comes this way as well.
    if (text.find_first_of(".eE") == std::string::npos) return Add(Value::BigInteger(text));
    return Add(Value::Float(value));
  }
  bool string(string_t& text) override { return Add(Value::String(text, true)); }
  bool binary(binary_t&) override { return false; }  // JSON has none

  bool start_object(size_t) override { return Begin(true); }
  bool start_array(size_t) override { return Begin(false); }
  bool key(string_t& key) override {
    Level& level = levels_.back();
    if (!level.seen.insert(key).second) {
      return Fail(absl::InvalidArgumentError(
          absl::StrCat("key ", Quoted(key), " occurs twice in one object")));
    }
    level.entries.emplace_back(Value::String(key, true), Value::None());
    return true;
  }
  bool end_object() override {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    return AddMade(MakeDict(std::move(level.entries), budget_));
  }
  bool end_array() override {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    return AddMade(MakeList(std::move(level.elements)));
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(absl::InvalidArgumentError(absl::StrCat("not JSON at byte ", position)));
  }

 private:
  // An object or array that is not complete.
  struct Level {
    bool object;
    std::vector<std::pair<Value, Value>> entries;
    std::set<std::string> seen;
    std::vector<Value> elements;
  };

  bool Fail(absl::Status why) {
    status = std::move(why);
    return false;
  }
  bool Begin(bool object) {
    if (levels_.size() >= static_cast<size_t>(kJsonDepthMax)) {
      return Fail(absl::InvalidArgumentError(
          absl::StrCat("nested deeper than ", kJsonDepthMax, " levels")));
    }
    levels_.push_back({object, {}, {}, {}});
    return true;
  }
  bool AddMade(absl::StatusOr<Value> made) {
    return made.ok() ? Add(*std::move(made)) : Fail(made.status());
  }
  bool Add(Value value) {
    if (absl::Status spent = budget_.Spend(sizeof(Value)); !spent.ok()) return Fail(spent);
    if (levels_.empty()) {
      result = std::move(value);
    } else if (levels_.back().object) {
      levels_.back().entries.back().second = std::move(value);
    } else {
      levels_.back().elements.push_back(std::move(value));
    }
    return true;
  }

  Budget& budget_;
  std::vector<Level> levels_;
};

}  // namespace

absl::StatusOr<Value> ParseJsonValue(absl::string_view json, absl::string_view where,
                                     Budget& budget) {
  R1_RETURN_IF_ERROR(budget.Spend(json.size()));
  ValueBuilder builder(budget);
  try {
    if (nlohmann::json::sax_parse(json.begin(), json.end(), &builder)) return builder.result;
  } catch (const nlohmann::json::exception& error) {  // a number outside double's range
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", error.what()));
  }
  if (builder.status.ok()) builder.status = absl::InvalidArgumentError("not JSON");
  return Annotate(builder.status, where);
}

}  // namespace r1::jinja
