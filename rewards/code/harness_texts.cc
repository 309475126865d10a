#include "rewards/code/harness_texts.h"

// R1_HARNESS is the folder, from CMakeLists.txt.
asm(".section .rodata\n"
    "r1_call_harness_begin: .incbin \"" R1_HARNESS
    "/call.h\"\n"
    "r1_call_harness_end:\n"
    "r1_test_harness_begin: .incbin \"" R1_HARNESS
    "/test.h\"\n"
    "r1_test_harness_end:\n"
    ".previous\n");

extern "C" {
extern const char r1_call_harness_begin[];
extern const char r1_call_harness_end[];
extern const char r1_test_harness_begin[];
extern const char r1_test_harness_end[];
}

namespace r1::rewards::code {

absl::string_view CallHarness() {
  return {r1_call_harness_begin, static_cast<size_t>(r1_call_harness_end - r1_call_harness_begin)};
}

absl::string_view TestHarness() {
  return {r1_test_harness_begin, static_cast<size_t>(r1_test_harness_end - r1_test_harness_begin)};
}

}  // namespace r1::rewards::code
