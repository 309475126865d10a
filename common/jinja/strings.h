// Python's string methods on Text, keeping where each byte came from. Characters are code points;
// white space is Python's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/jinja/text.h"
#include "common/status.h"

namespace r1::jinja {

// Bytes [begin, end) are what is left without the characters of `characters` (white space when
// nullopt) at the wanted ends.
enum class Side { kBoth, kLeft, kRight };
Text Strip(const Text& text, Side side, const std::optional<std::string>& characters);

// str.split and str.rsplit: `limit` cuts at most, -1 = no bound; runs of white space when there is
// no separator. The separator must not be empty.
std::vector<Text> Split(const Text& text, const std::optional<std::string>& separator,
                        int64_t limit, bool from_right);
std::vector<Text> SplitLines(const Text& text, bool keep_ends);

// At most `limit` times, -1 = no bound. An empty `old` stands before each character and at the end.
Text Replace(const Text& text, absl::string_view old, const Text& replacement, int64_t limit);

// upper() and lower() by Unicode's simple mappings. InvalidArgument names a character whose mapping
// is a longer string or depends on its neighbours, which these do not know.
[[nodiscard]] absl::StatusOr<Text> UpperCase(const Text& text);
[[nodiscard]] absl::StatusOr<Text> LowerCase(const Text& text);

}  // namespace r1::jinja
