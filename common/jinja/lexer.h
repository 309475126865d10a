// Template source -> tokens, as Jinja 3.1 cuts it with trim_blocks and lstrip_blocks: text between
// tags (with the white space that tags take away already gone), and the tokens inside the tags.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1::jinja {

enum class TokenKind {
  kText,            // between tags; `text` holds it
  kOutputBegin,     // {{
  kOutputEnd,       // }}
  kStatementBegin,  // {%
  kStatementEnd,    // %}
  kName,
  kString,   // `text` holds its value
  kInteger,  // `text` holds its digits
  kFloat,
  kOperator,  // `text` is one of + - * / // % ** ~ [ ] ( ) { } == != < <= > >= = . : | , ;
  kEnd,       // of the source
};

struct Token {
  TokenKind kind;
  std::string text;
  double number = 0;
  int line = 1;
};

// InvalidArgument names the line: an unfinished tag, a stray character, a bad literal, brackets
// that do not match, invalid UTF-8. The last token is kEnd.
[[nodiscard]] absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

}  // namespace r1::jinja
