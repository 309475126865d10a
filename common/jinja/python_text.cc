#include "common/jinja/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace r1::jinja {
namespace {

// str.isprintable of one character.
bool IsPrintable(int32_t code_point) {
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code_point == ' ';
    default:
      return true;
  }
}

std::string StringRepr(absl::string_view text) {
  const bool double_quotes =
      text.find('\'') != absl::string_view::npos && text.find('"') == absl::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string repr(1, quote);
  for (size_t at = 0; at < text.size();) {
    const size_t next = NextCharacter(text, at);
    const int32_t code_point = CodePointAt(text, at);
    if (code_point == quote || code_point == '\\') {
      repr += {'\\', static_cast<char>(code_point)};
    } else if (code_point == '\n' || code_point == '\r' || code_point == '\t') {
      repr += code_point == '\n' ? "\\n" : code_point == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(code_point)) {
      repr.append(text.data() + at, next - at);
    } else if (code_point <= 0xFF) {
      absl::StrAppendFormat(&repr, "\\x%02x", code_point);
    } else if (code_point <= 0xFFFF) {
      absl::StrAppendFormat(&repr, "\\u%04x", code_point);
    } else {
      absl::StrAppendFormat(&repr, "\\U%08x", code_point);
    }
    at = next;
  }
  return repr + quote;
}

// A scalar as Python prints it; strings in quotes.
absl::StatusOr<std::string> ScalarRepr(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return std::string("Undefined");
    case Kind::kNone:
      return std::string("None");
    case Kind::kBool:
      return std::string(value.boolean() ? "True" : "False");
    case Kind::kInteger:
      return absl::StrCat(value.integer());
    case Kind::kFloat:
      return FloatRepr(value.number());
    case Kind::kBigInteger:
      return value.digits();
    case Kind::kString:
      return StringRepr(value.text().bytes());
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a ", value.TypeName(), " object cannot be printed"));
  }
}

bool FromContent(const Value& value) {
  return value.is(Kind::kString) ? value.text().from_content() : true;
}

absl::Status AppendRepr(const Value& value, Budget& budget, Text& text);

absl::Status AppendListRepr(const List& list, Budget& budget, Text& text) {
  const bool tuple = list.type == List::Type::kTuple;
  text.Append(tuple ? "(" : "[", true);
  for (size_t i = 0; i < list.elements.size(); ++i) {
    if (i > 0) text.Append(", ", true);
    R1_RETURN_IF_ERROR(AppendRepr(list.elements[i], budget, text));
  }
  text.Append(!tuple ? "]" : list.elements.size() == 1 ? ",)" : ")", true);
  return absl::OkStatus();
}

absl::Status AppendRepr(const Value& value, Budget& budget, Text& text) {
  if (value.is(Kind::kList) && value.list().type != List::Type::kGenerator) {
    R1_RETURN_IF_ERROR(budget.Spend(2 + 2 * value.list().elements.size()));
    return AppendListRepr(value.list(), budget, text);
  }
  if (value.is(Kind::kDict)) {
    R1_RETURN_IF_ERROR(budget.Spend(2 + 4 * value.dict().entries.size()));
    absl::string_view separator = "{";
    for (const auto& [key, item] : value.dict().entries) {
      text.Append(separator, true);
      separator = ", ";
      R1_RETURN_IF_ERROR(AppendRepr(key, budget, text));
      text.Append(": ", true);
      R1_RETURN_IF_ERROR(AppendRepr(item, budget, text));
    }
    text.Append(value.dict().entries.empty() ? "{}" : "}", true);
    return absl::OkStatus();
  }
  if (value.is(Kind::kString)) R1_RETURN_IF_ERROR(budget.Spend(value.text().size()));
  R1_ASSIGN_OR_RETURN(const std::string repr, ScalarRepr(value));
  text.Append(repr, FromContent(value));
  return budget.Spend(repr.size());
}

// json.dumps of a string: short escapes, \u00XX for other control characters.
std::string JsonQuoted(absl::string_view text, bool ensure_ascii) {
  std::string json = "\"";
  for (size_t at = 0; at < text.size();) {
    const size_t next = NextCharacter(text, at);
    const int32_t c = CodePointAt(text, at);
    constexpr absl::string_view kEscaped = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    const size_t escape = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : absl::string_view::npos;
    if (escape != absl::string_view::npos) {
      json += {'\\', kLetters[escape]};
    } else if (c < 0x20 || (ensure_ascii && c > 0x7E && c <= 0xFFFF)) {
      absl::StrAppendFormat(&json, "\\u%04x", c);
    } else if (ensure_ascii && c > 0xFFFF) {
      absl::StrAppendFormat(&json, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                            0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
      json.append(text.data() + at, next - at);
    }
    at = next;
  }
  return json + '"';
}

// One value of json.dumps.
class JsonWriter {
 public:
  JsonWriter(const JsonOptions& options, Budget& budget) : options_(options), budget_(budget) {}

  absl::Status Write(const Value& value, int level) {
    if (value.is(Kind::kDict)) return WriteDict(value.dict(), level);
    if (value.is(Kind::kList) && value.list().type != List::Type::kGenerator) {
      return WriteList(value.list(), level);
    }
    return Append(JsonScalar(value), FromContent(value));
  }
  Text Take() { return std::move(text_); }

 private:
  absl::StatusOr<std::string> JsonScalar(const Value& value) const {
    switch (value.kind()) {
      case Kind::kNone:
        return std::string("null");
      case Kind::kBool:
        return std::string(value.boolean() ? "true" : "false");
      case Kind::kFloat:
        if (std::isnan(value.number())) return std::string("NaN");
        if (std::isinf(value.number())) return value.number() < 0 ? "-Infinity" : "Infinity";
        return FloatRepr(value.number());
      case Kind::kInteger:
      case Kind::kBigInteger:
        return ScalarRepr(value);
      case Kind::kString:
        return JsonQuoted(value.text().bytes(), options_.ensure_ascii);
      default:
        return absl::InvalidArgumentError(
            absl::StrCat("Object of type ", value.TypeName(), " is not JSON serializable"));
    }
  }

  absl::Status Append(const absl::StatusOr<std::string>& piece, bool from_content) {
    R1_RETURN_IF_ERROR(piece.status());
    R1_RETURN_IF_ERROR(budget_.Spend(1 + piece->size()));
    text_.Append(*piece, from_content);
    return absl::OkStatus();
  }

  // What stands before an element, or before the closing bracket.
  absl::Status Break(int level) {
    if (!options_.indented) return absl::OkStatus();
    std::string line = "\n";
    for (int i = 0; i < level; ++i) line += options_.indent;
    return Append(line, true);
  }

  absl::Status WriteList(const List& list, int level) {
    if (list.elements.empty()) return Append(std::string("[]"), true);
    R1_RETURN_IF_ERROR(Append(std::string("["), true));
    for (size_t i = 0; i < list.elements.size(); ++i) {
      if (i > 0) R1_RETURN_IF_ERROR(Append(options_.item_separator, true));
      R1_RETURN_IF_ERROR(Break(level + 1));
      R1_RETURN_IF_ERROR(Write(list.elements[i], level + 1));
    }
    R1_RETURN_IF_ERROR(Break(level));
    return Append(std::string("]"), true);
  }

  absl::Status WriteDict(const Dict& dict, int level) {
    if (dict.entries.empty()) return Append(std::string("{}"), true);
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (options_.sort_keys) R1_RETURN_IF_ERROR(SortByKey(entries));
    R1_RETURN_IF_ERROR(Append(std::string("{"), true));
    for (size_t i = 0; i < entries.size(); ++i) {
      const auto& [key, value] = *entries[i];
      if (i > 0) R1_RETURN_IF_ERROR(Append(options_.item_separator, true));
      R1_RETURN_IF_ERROR(Break(level + 1));
      if (key.is(Kind::kString)) {
        R1_RETURN_IF_ERROR(Append(JsonScalar(key), key.text().from_content()));
      } else if (key.is(Kind::kList) || key.is(Kind::kUndefined)) {
        return absl::InvalidArgumentError(
            absl::StrCat("keys must be str, int, float, bool or None, not ", key.TypeName()));
      } else {
        R1_ASSIGN_OR_RETURN(const std::string scalar, JsonScalar(key));
        R1_RETURN_IF_ERROR(Append(absl::StrCat("\"", scalar, "\""), true));
      }
      R1_RETURN_IF_ERROR(Append(options_.key_separator, true));
      R1_RETURN_IF_ERROR(Write(value, level + 1));
    }
    R1_RETURN_IF_ERROR(Break(level));
    return Append(std::string("}"), true);
  }

  absl::Status SortByKey(std::vector<const std::pair<Value, Value>*>& entries) {
    absl::Status status;
    std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
      const absl::StatusOr<bool> less =
          status.ok() ? Less(a->first, b->first, budget_) : absl::StatusOr<bool>(false);
      status.Update(less.status());
      return less.ok() && *less;
    });
    return status;
  }

  const JsonOptions& options_;
  Budget& budget_;
  Text text_;
};

}  // namespace

size_t NextCharacter(absl::string_view text, size_t at) {
  ++at;
  while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
  return at;
}

size_t PreviousCharacter(absl::string_view text, size_t end) {
  --end;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return end;
}

int32_t CodePointAt(absl::string_view text, size_t at) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t bytes = NextCharacter(text, at) - at;
  int32_t code_point = bytes == 1 ? byte(at) : byte(at) & (0x7F >> bytes);
  for (size_t i = at + 1; i < at + bytes; ++i) code_point = code_point << 6 | (byte(i) & 0x3F);
  return code_point;
}

size_t CountCharacters(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void AppendCodePoint(int32_t code_point, std::string& text) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t count = utf8proc_encode_char(code_point, bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
}

bool IsSpace(int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  absl::string_view scientific(buffer, static_cast<size_t>(end - buffer));  // "-1.25e+02"
  int exponent = 0;
  R1_CHECK(absl::SimpleAtoi(scientific.substr(scientific.find('e') + 1), &exponent));
  const absl::string_view sign = absl::ConsumePrefix(&scientific, "-") ? "-" : "";
  std::string digits;
  for (const char c : scientific.substr(0, scientific.find('e'))) {
    if (c != '.') digits += c;
  }
  if (exponent < -4 || exponent >= 16) {
    return absl::StrFormat("%s%c%s%se%c%02d", sign, digits[0], digits.size() > 1 ? "." : "",
                           digits.substr(1), exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) {
    return absl::StrCat(sign, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    return absl::StrCat(sign, digits, std::string(whole - digits.size(), '0'), ".0");
  }
  return absl::StrCat(sign, digits.substr(0, whole), ".", digits.substr(whole));
}

absl::StatusOr<Text> ToText(const Value& value, Budget& budget) {
  if (value.is(Kind::kString)) return value.text();
  Text text;
  if (!value.is(Kind::kUndefined)) R1_RETURN_IF_ERROR(AppendRepr(value, budget, text));
  return text;
}

absl::StatusOr<Text> ToJson(const Value& value, const JsonOptions& options, Budget& budget) {
  JsonWriter writer(options, budget);
  R1_RETURN_IF_ERROR(writer.Write(value, 0));
  return writer.Take();
}

}  // namespace r1::jinja
