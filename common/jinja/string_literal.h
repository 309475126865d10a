// Escapes of a string literal in a template: Python's.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1::jinja {

// The value of what stands between the quotes. InvalidArgument for an escape that is cut off, one
// of \N{…}, and one of a surrogate, which no UTF-8 could hold.
[[nodiscard]] absl::StatusOr<std::string> UnescapeLiteral(absl::string_view literal);

}  // namespace r1::jinja
