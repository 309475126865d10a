// Runs a template's syntax tree on variables. Bounded in work, output and depth; touches nothing
// outside.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/jinja/budget.h"
#include "common/jinja/syntax.h"
#include "common/jinja/text.h"
#include "common/jinja/value.h"
#include "common/status.h"

namespace r1::jinja {

struct RenderOptions {
  uint64_t output_bytes_max = 0;
  // What strftime_now tells.
  absl::Time now;
  absl::TimeZone time_zone;
};

// The text that jinja2 3.1 renders with trim_blocks, lstrip_blocks, loop controls, {% generation %}
// and transformers' tojson, raise_exception and strftime_now. InvalidArgument, with the line, for
// what the template refuses or Python would raise; ResourceExhausted when a bound is reached.
[[nodiscard]] absl::StatusOr<Text> Render(const Body& body, const Dict& variables,
                                          const RenderOptions& options, Budget& budget);

}  // namespace r1::jinja
