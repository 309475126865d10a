// JSON text -> Value, as Python's json module reads it: keys in their order, integers of any size,
// floats as doubles. Every string in it counts as content.
#pragma once

#include "absl/strings/string_view.h"
#include "common/jinja/budget.h"
#include "common/jinja/value.h"
#include "common/status.h"

namespace r1::jinja {

// InvalidArgument, with `where` in front: bad syntax or UTF-8, too deep, a key that an object holds
// twice.
[[nodiscard]] absl::StatusOr<Value> ParseJsonValue(absl::string_view json, absl::string_view where,
                                                   Budget& budget);

}  // namespace r1::jinja
