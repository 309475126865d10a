// Tokens as the parser reads them: one at a time with a look ahead, and errors that say the line.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/jinja/lexer.h"
#include "common/status.h"
#include "common/utf8.h"

namespace r1::jinja {

// Not thread-safe. The last token is kEnd and is never passed.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Take() {
    const Token& token = current();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }

  bool Is(TokenKind kind) const { return current().kind == kind; }
  bool IsOperator(absl::string_view text) const { return Matches(TokenKind::kOperator, text); }
  bool IsName(absl::string_view text) const { return Matches(TokenKind::kName, text); }
  bool SkipOperator(absl::string_view text) { return Skip(TokenKind::kOperator, text); }
  bool SkipName(absl::string_view text) { return Skip(TokenKind::kName, text); }

  [[nodiscard]] absl::Status ExpectOperator(absl::string_view text) {
    return SkipOperator(text) ? absl::OkStatus() : Expected(absl::StrCat("\"", text, "\""));
  }
  [[nodiscard]] absl::Status ExpectName(absl::string_view text) {
    return SkipName(text) ? absl::OkStatus() : Expected(absl::StrCat("\"", text, "\""));
  }
  [[nodiscard]] absl::StatusOr<std::string> ExpectAnyName() {
    if (!Is(TokenKind::kName)) return Expected("a name");
    return Take().text;
  }
  [[nodiscard]] absl::Status ExpectKind(TokenKind kind, absl::string_view description) {
    if (!Is(kind)) return Expected(description);
    Take();
    return absl::OkStatus();
  }

  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", current().line, ": ", what));
  }
  absl::Status Expected(absl::string_view what) const {
    return Error(absl::StrCat("expected ", what, ", found ", Describe(current())));
  }

 private:
  static std::string Describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kText:
      case TokenKind::kOutputBegin:
      case TokenKind::kStatementBegin:
        return "the end of the tag";
      case TokenKind::kOutputEnd:
        return "}}";
      case TokenKind::kStatementEnd:
        return "%}";
      case TokenKind::kEnd:
        return "the end of the template";
      default:
        return Quoted(token.text);
    }
  }
  bool Matches(TokenKind kind, absl::string_view text) const {
    return current().kind == kind && current().text == text;
  }
  bool Skip(TokenKind kind, absl::string_view text) {
    if (!Matches(kind, text)) return false;
    Take();
    return true;
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace r1::jinja
