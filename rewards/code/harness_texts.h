// The texts of harness/, which are compiled together with C++ programs under judgement.
#pragma once

#include "absl/strings/string_view.h"

namespace r1::rewards::code {

absl::string_view CallHarness();  // harness/call.h
absl::string_view TestHarness();  // harness/test.h

}  // namespace r1::rewards::code
