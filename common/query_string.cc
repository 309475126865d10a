#include "common/query_string.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/utf8.h"

namespace r1 {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

absl::StatusOr<std::string> Decode(absl::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i] == '+' ? ' ' : text[i]);
      continue;
    }
    const int high = i + 1 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError("query: % must be followed by two hexadecimal digits");
    }
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  if (!IsValidUtf8(decoded)) {
    return absl::InvalidArgumentError("query: not valid UTF-8 once decoded");
  }
  return decoded;
}

}  // namespace

absl::StatusOr<QueryString> QueryString::Parse(absl::string_view query) {
  if (query.size() > kBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("query: ", query.size(), " bytes, at most ", kBytesMax, " are read"));
  }
  QueryString result;
  if (query.empty()) return result;
  for (const absl::string_view pair : absl::StrSplit(query, '&')) {
    const std::pair<absl::string_view, absl::string_view> halves =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    R1_ASSIGN_OR_RETURN(std::string name, Decode(halves.first));
    R1_ASSIGN_OR_RETURN(std::string value, Decode(halves.second));
    if (name.empty()) return absl::InvalidArgumentError("query: a parameter without a name");
    if (result.parameters_.size() == kParametersMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("query: more than ", kParametersMax, " parameters"));
    }
    if (!result.parameters_.emplace(name, std::move(value)).second) {
      return absl::InvalidArgumentError(absl::StrCat("query: ", name, " is given twice"));
    }
  }
  return result;
}

absl::Status QueryString::CheckKnown(std::initializer_list<absl::string_view> known) const {
  for (const auto& [name, value] : parameters_) {
    bool found = false;
    for (const absl::string_view candidate : known) found = found || candidate == name;
    if (found) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "query: unknown parameter ", name,
        "; known here: ", known.size() == 0 ? std::string("none") : absl::StrJoin(known, ", ")));
  }
  return absl::OkStatus();
}

std::string QueryString::Text(const std::string& name, const std::string& otherwise) const {
  const auto found = parameters_.find(name);
  return found == parameters_.end() ? otherwise : found->second;
}

absl::StatusOr<int64_t> QueryString::Integer(const std::string& name, int64_t otherwise,
                                             int64_t min, int64_t max) const {
  const auto found = parameters_.find(name);
  if (found == parameters_.end()) return otherwise;
  int64_t value = 0;
  if (!absl::SimpleAtoi(found->second, &value) || value < min || value > max) {
    return absl::InvalidArgumentError(absl::StrCat("query: ", name, " must be an integer from ",
                                                   min, " to ", max, ", found \"", found->second,
                                                   "\""));
  }
  return value;
}

}  // namespace r1
