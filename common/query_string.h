// The query of a URL, "keys=reward%2Fmean&since=12", read strictly: what is malformed or unknown is
// an error that says so, because a reader's typo must not silently give other data.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>

#include "common/status.h"

namespace r1 {

class QueryString {
 public:
  // Bounds on what is parsed at all.
  static constexpr size_t kBytesMax = 8192;
  static constexpr size_t kParametersMax = 32;

  // `query` is what follows the question mark; empty is fine. "+" and "%20" are spaces. Errors, all
  // InvalidArgument: a bad % escape, a parameter without a name, one that is given twice, too many
  // or too long, a value that is not UTF-8.
  [[nodiscard]] static absl::StatusOr<QueryString> Parse(absl::string_view query);

  // InvalidArgument, naming the known ones, when there is any other parameter.
  [[nodiscard]] absl::Status CheckKnown(std::initializer_list<absl::string_view> known) const;

  // The value, or `otherwise` when the parameter is absent.
  std::string Text(const std::string& name, const std::string& otherwise) const;

  // A decimal integer in [min, max], or `otherwise` when absent. InvalidArgument when it is
  // something else.
  [[nodiscard]] absl::StatusOr<int64_t> Integer(const std::string& name, int64_t otherwise,
                                                int64_t min, int64_t max) const;

 private:
  std::map<std::string, std::string> parameters_;
};

}  // namespace r1
