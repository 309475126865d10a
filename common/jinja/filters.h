// The filters by subject; builtins.h applies one by its name.
#pragma once

#include <span>

#include "absl/strings/string_view.h"
#include "common/jinja/builtins.h"

namespace r1::jinja {

using Filter = absl::StatusOr<Value> (*)(const Value& value, const Arguments& arguments,
                                         Context& context);

struct NamedFilter {
  absl::string_view name;
  Filter filter;
};

// tojson, trim, replace, int, …: of one value.
std::span<const NamedFilter> ScalarFilters();
// join, map, select, sort, …: of what can be iterated.
std::span<const NamedFilter> SequenceFilters();

}  // namespace r1::jinja
