#include "common/pre_tokenizer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

// The words of GPT-2, which ByteLevel finds by itself with use_regex.
constexpr char kGpt2Words[] =
    "(?:'s|'t|'re|'ve|'m|'ll|'d)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const TokenizerFile& file) {
  PreTokenizer made;
  for (const std::string& expression : file.split_expressions) {
    auto split = SplitPattern::Compile(expression);
    if (!split.ok()) return Annotate(split.status(), "tokenizer.json: pre_tokenizer");
    made.splits_.push_back(*std::move(split));
  }
  made.add_prefix_space_ = file.add_prefix_space;
  if (file.split_like_gpt2) {
    R1_ASSIGN_OR_RETURN(SplitPattern split, SplitPattern::Compile(kGpt2Words));
    made.last_split_.emplace(std::move(split));
  }
  return made;
}

absl::Status PreTokenizer::Split(absl::string_view text, Scratch& scratch) const {
  scratch.spaced_.clear();
  scratch.pieces_.assign(text.empty() ? 0 : 1, text);
  const auto split_all = [&scratch](const SplitPattern& split) -> absl::Status {
    scratch.next_.clear();
    R1_RETURN_IF_ERROR(split.Split(scratch.pieces_, scratch.next_));
    scratch.pieces_.swap(scratch.next_);
    return absl::OkStatus();
  };
  for (const SplitPattern& split : splits_) R1_RETURN_IF_ERROR(split_all(split));
  if (add_prefix_space_) {
    for (absl::string_view& piece : scratch.pieces_) {
      if (absl::StartsWith(piece, " ")) continue;
      piece = scratch.spaced_.emplace_back(absl::StrCat(" ", piece));
    }
  }
  return last_split_.has_value() ? split_all(*last_split_) : absl::OkStatus();
}

}  // namespace r1
