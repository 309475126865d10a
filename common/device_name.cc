#include "common/device_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/utf8.h"

namespace r1 {

absl::StatusOr<DeviceName> ParseDeviceName(absl::string_view text) {
  constexpr int kIndexMax = 63;
  if (text == "cpu") return DeviceName{};
  if (text == "auto") return DeviceName{.kind = DeviceName::Kind::kAuto};
  DeviceName name{.kind = DeviceName::Kind::kCuda};
  if (text == "cuda") return name;
  const bool has_index = absl::ConsumePrefix(&text, "cuda:");
  const bool is_number = has_index && !text.empty() && absl::ascii_isdigit(text.front()) &&
                         absl::SimpleAtoi(text, &name.index);
  if (is_number && name.index <= kIndexMax) return name;
  return absl::InvalidArgumentError(
      absl::StrCat("expected cpu, cuda, cuda:0 to cuda:", kIndexMax, " or auto, found ",
                   Quoted(absl::StrCat(has_index ? "cuda:" : "", text))));
}

}  // namespace r1
