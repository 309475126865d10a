#include "common/incremental_decoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/utf8.h"

namespace r1 {

std::string IncrementalDecoder::Append(int32_t id) {
  if (skip_special_ && tokenizer_.IsSpecial(id)) return "";
  absl::StrAppend(&held_, tokenizer_.TokenBytes(id));
  const size_t complete = held_.size() - UnfinishedUtf8Suffix(held_);
  std::string text = ReplaceInvalidUtf8(absl::string_view(held_).substr(0, complete));
  held_.erase(0, complete);
  return text;
}

std::string IncrementalDecoder::Finish() {
  return ReplaceInvalidUtf8(std::exchange(held_, std::string()));
}

}  // namespace r1
