#include "rewards/code/exact_json.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/utf8.h"

namespace r1::rewards::code {
namespace {

constexpr int kDepthMax = 100;

// A descent over the text: nlohmann's parser would turn large integers into doubles.
class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  std::optional<ExactJson> ParseAll() {
    ExactJson value;
    if (!ParseValue(value, 0)) return std::nullopt;
    SkipSpace();
    if (at_ != text_.size()) return std::nullopt;
    return value;
  }

 private:
  using Kind = ExactJson::Kind;

  void SkipSpace() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  bool Take(absl::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool TakeAfterSpace(absl::string_view word) {
    SkipSpace();
    return Take(word);
  }

  bool ParseValue(ExactJson& value, int depth) {
    SkipSpace();
    if (at_ == text_.size() || depth > kDepthMax) return false;
    if (Take("null")) return true;
    for (const absl::string_view word : {"true", "false"}) {
      if (Take(word)) {
        value = {.kind = Kind::kBool, .text = std::string(word), .items = {}, .keys = {}};
        return true;
      }
    }
    if (text_[at_] == '"') {
      value.kind = Kind::kString;
      return ParseString(value.text);
    }
    if (Take("[")) return ParseArray(value, depth);
    if (Take("{")) return ParseObject(value, depth);
    return ParseNumber(value);
  }

  bool ParseArray(ExactJson& value, int depth) {
    value.kind = Kind::kArray;
    if (TakeAfterSpace("]")) return true;
    do {
      if (!ParseValue(value.items.emplace_back(), depth + 1)) return false;
    } while (TakeAfterSpace(","));
    return TakeAfterSpace("]");
  }

  bool ParseObject(ExactJson& value, int depth) {
    value.kind = Kind::kObject;
    if (TakeAfterSpace("}")) return true;
    do {
      SkipSpace();
      if (!ParseString(value.keys.emplace_back()) || !TakeAfterSpace(":") ||
          !ParseValue(value.items.emplace_back(), depth + 1)) {
        return false;
      }
    } while (TakeAfterSpace(","));
    return TakeAfterSpace("}");
  }

  // The end is looked for here; what is between the quotes is common/json's business.
  bool ParseString(std::string& string) {
    if (at_ == text_.size() || text_[at_] != '"') return false;
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return false;
    const absl::StatusOr<nlohmann::json> parsed =
        ParseJson(text_.substr(at_, end + 1 - at_), "a string");
    if (!parsed.ok()) return false;
    string = parsed->get<std::string>();
    at_ = end + 1;
    return true;
  }

  bool ParseNumber(ExactJson& value) {
    const size_t begin = at_;
    Take("-");
    if (Take("NaN") || Take("Infinity")) {
      value.kind = Kind::kFloat;
      value.text = std::string(text_.substr(begin, at_ - begin));
      return true;
    }
    const size_t digits = at_;
    TakeDigits();
    if (at_ == digits) return false;
    const bool has_leading_zero = text_[digits] == '0' && at_ > digits + 1;
    if (has_leading_zero) return false;
    value.kind = Kind::kInteger;
    if (Take(".")) {
      value.kind = Kind::kFloat;
      if (!TakeDigits()) return false;
    }
    if (Take("e") || Take("E")) {
      value.kind = Kind::kFloat;
      (void)(Take("+") || Take("-"));
      if (!TakeDigits()) return false;
    }
    value.text = std::string(text_.substr(begin, at_ - begin));
    if (value.text == "-0") value.text.assign(1, '0');
    return true;
  }
  bool TakeDigits() {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ > begin;
  }

  const absl::string_view text_;
  size_t at_ = 0;
};

bool IsNumber(const ExactJson& value) {
  return value.kind == ExactJson::Kind::kInteger || value.kind == ExactJson::Kind::kFloat;
}

bool EqualNumbers(const ExactJson& found, const ExactJson& expected, double tolerance) {
  const bool is_exact =
      found.kind == ExactJson::Kind::kInteger && expected.kind == ExactJson::Kind::kInteger;
  if (is_exact) return found.text == expected.text;
  if (found.kind != expected.kind && tolerance == 0) return false;
  double a = 0, b = 0;
  if (!absl::SimpleAtod(found.text, &a) || !absl::SimpleAtod(expected.text, &b)) return false;
  if (std::isnan(a) || std::isnan(b)) return false;
  return a == b || std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b));
}

// Of the items: as they stand, or by their keys.
std::vector<size_t> Order(const ExactJson& value) {
  std::vector<size_t> order(value.items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (!value.keys.empty()) {
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return value.keys[a] < value.keys[b]; });
  }
  return order;
}

}  // namespace

const ExactJson* ExactJson::FindOrNull(absl::string_view key) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == key) return &items[i];
  }
  return nullptr;
}

std::string ExactJson::Dump() const {
  std::string dumped;
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
    case Kind::kInteger:
    case Kind::kFloat:
      return text;
    case Kind::kString:
      return DumpJson(nlohmann::json(text));
    case Kind::kArray:
      for (const ExactJson& item : items) {
        absl::StrAppend(&dumped, dumped.empty() ? "" : ",", item.Dump());
      }
      return absl::StrCat("[", dumped, "]");
    case Kind::kObject:
      for (size_t i = 0; i < keys.size(); ++i) {
        absl::StrAppend(&dumped, dumped.empty() ? "" : ",", DumpJson(nlohmann::json(keys[i])), ":",
                        items[i].Dump());
      }
      return absl::StrCat("{", dumped, "}");
  }
  return dumped;
}

std::optional<ExactJson> ParseExactJson(absl::string_view text) { return Parser(text).ParseAll(); }

bool Equal(const ExactJson& found, const ExactJson& expected, double tolerance) {
  if (IsNumber(found) && IsNumber(expected)) return EqualNumbers(found, expected, tolerance);
  if (found.kind != expected.kind || found.text != expected.text) return false;
  if (found.items.size() != expected.items.size()) return false;
  const std::vector<size_t> found_order = Order(found), expected_order = Order(expected);
  for (size_t i = 0; i < expected.items.size(); ++i) {
    const size_t a = found_order[i], b = expected_order[i];
    if (!expected.keys.empty() && found.keys[a] != expected.keys[b]) return false;
    if (!Equal(found.items[a], expected.items[b], tolerance)) return false;
  }
  return true;
}

}  // namespace r1::rewards::code
