#include "common/split_pattern.h"

#include <pcre2.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/utf8.h"

namespace r1 {
namespace {

// Steps of one match; a match of the tokenizers in use takes none but for its length. An expression
// like (?:a+)+b would otherwise run for ever.
constexpr uint32_t kMatchStepsMax = 10'000'000;
constexpr uint32_t kMatchKibibytesMax = 256 << 10;

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};

std::string ErrorText(int code) {
  PCRE2_UCHAR text[200] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct SplitPattern::Code {
  std::string expression;
  std::unique_ptr<pcre2_code, FreeCode> compiled;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> limits;
};

SplitPattern::SplitPattern(std::unique_ptr<Code> code) : code_(std::move(code)) {}
SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

absl::StatusOr<SplitPattern> SplitPattern::Compile(absl::string_view expression) {
  R1_ASSIGN_OR_RETURN(const std::string translated, TranslateSplitPattern(expression));
  auto code = std::make_unique<Code>();
  code->expression = std::string(expression);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code->compiled.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                     translated.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset,
                                     nullptr));
  if (code->compiled == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("regular expression ", Quoted(expression), ": ", ErrorText(error)));
  }
  uint32_t matches_empty = 0;
  R1_CHECK(pcre2_pattern_info(code->compiled.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty) == 0);
  if (matches_empty != 0) {
    return absl::InvalidArgumentError(absl::StrCat("regular expression ", Quoted(expression),
                                                   ": it can match the empty text: not supported"));
  }
  code->limits.reset(pcre2_match_context_create(nullptr));
  R1_CHECK(code->limits != nullptr);
  pcre2_set_match_limit(code->limits.get(), kMatchStepsMax);
  pcre2_set_heap_limit(code->limits.get(), kMatchKibibytesMax);
  // Without a compiler for this processor PCRE2 interprets the expression: slower, the same pieces.
  (void)pcre2_jit_compile(code->compiled.get(), PCRE2_JIT_COMPLETE);
  return SplitPattern(std::move(code));
}

absl::Status SplitPattern::Split(std::span<const absl::string_view> texts,
                                 std::vector<absl::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> match(
      pcre2_match_data_create_from_pattern(code_->compiled.get(), nullptr));
  R1_CHECK(match != nullptr);
  const PCRE2_SIZE* const span = pcre2_get_ovector_pointer(match.get());
  for (const absl::string_view text : texts) {
    const auto match_from = [&](size_t at, uint32_t options) {
      return pcre2_match(code_->compiled.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                         text.size(), at, PCRE2_NO_UTF_CHECK | options, match.get(),
                         code_->limits.get());
    };
    for (size_t at = 0; at < text.size();) {
      int found = match_from(at, 0);
      // The compiled form has a small stack of its own; the interpreter takes memory as it needs.
      if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match_from(at, PCRE2_NO_JIT);
      if (found == PCRE2_ERROR_NOMATCH) {
        pieces.push_back(text.substr(at));
        break;
      }
      if (found < 0) {
        return absl::ResourceExhaustedError(
            absl::StrCat("regular expression ", Quoted(code_->expression), " on a text of ",
                         text.size(), " bytes, from byte ", at, ": ", ErrorText(found)));
      }
      R1_CHECK(span[0] >= at);
      R1_CHECK(span[1] > span[0]);
      if (span[0] > at) pieces.push_back(text.substr(at, span[0] - at));
      pieces.push_back(text.substr(span[0], span[1] - span[0]));
      at = span[1];
    }
  }
  return absl::OkStatus();
}

}  // namespace r1
