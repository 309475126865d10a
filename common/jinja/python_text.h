// How Python writes values: str(), repr() and json.dumps(), byte for byte, and what it takes for
// white space and for a character. Strings are valid UTF-8; positions are bytes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/jinja/budget.h"
#include "common/jinja/text.h"
#include "common/jinja/value.h"
#include "common/status.h"

namespace r1::jinja {

// The place behind the character at `at`, and before the one that ends at `end`.
size_t NextCharacter(absl::string_view text, size_t at);
size_t PreviousCharacter(absl::string_view text, size_t end);
int32_t CodePointAt(absl::string_view text, size_t at);
size_t CountCharacters(absl::string_view text);
void AppendCodePoint(int32_t code_point, std::string& text);
// str.isspace of one character.
bool IsSpace(int32_t code_point);

// Shortest digits that read back as the same double: "1.0", "1e-05", "inf".
std::string FloatRepr(double value);

// str(value): what {{ value }} prints; nothing for undefined. InvalidArgument for objects, whose
// text would hold an address.
[[nodiscard]] absl::StatusOr<Text> ToText(const Value& value, Budget& budget);

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;  // of one level, when indented
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value). InvalidArgument for what has no JSON.
[[nodiscard]] absl::StatusOr<Text> ToJson(const Value& value, const JsonOptions& options,
                                          Budget& budget);

}  // namespace r1::jinja
