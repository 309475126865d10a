// How the programs inside of a slot report what went wrong: the step and errno, which travel to the
// grader in a Reply. They are small static programs without abseil.
#pragma once

#include <cerrno>

namespace r1::rewards::code {

struct [[nodiscard]] Failure {
  const char* step = nullptr;  // null: nothing failed
  int error = 0;

  explicit operator bool() const { return step != nullptr; }
};

// The failure of a call that has just set errno.
inline Failure FailedAt(const char* step) { return {.step = step, .error = errno}; }

#define R1_RETURN_IF_FAILED(expression)                                 \
  do {                                                                  \
    if (const ::r1::rewards::code::Failure r1_failure = (expression)) { \
      return r1_failure;                                                \
    }                                                                   \
  } while (false)

}  // namespace r1::rewards::code
