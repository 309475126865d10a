// Status macros and the check for our own bugs. Errors that a user, file, peer or device can cause
// are absl::Status with one of these codes: InvalidArgument = bad input, FailedPrecondition = wrong
// state, Unavailable = retry, DataLoss = corrupt, ResourceExhausted = a limit, DeadlineExceeded,
// PermissionDenied, Unauthenticated, NotFound, Internal.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#define R1_CONCAT_INNER(a, b) a##b
#define R1_CONCAT(a, b) R1_CONCAT_INNER(a, b)

#define R1_RETURN_IF_ERROR(expression)                            \
  do {                                                            \
    if (absl::Status r1_status = (expression); !r1_status.ok()) { \
      return r1_status;                                           \
    }                                                             \
  } while (false)

#define R1_ASSIGN_OR_RETURN(target, expression) \
  R1_ASSIGN_OR_RETURN_INNER(R1_CONCAT(r1_status_or_, __LINE__), target, expression)
#define R1_ASSIGN_OR_RETURN_INNER(status_or, target, expression) \
  auto status_or = (expression);                                 \
  if (!status_or.ok()) return status_or.status();                \
  target = *std::move(status_or)

// For our own bugs only, kept on in release: prints the condition and aborts.
#define R1_CHECK(condition)                                              \
  do {                                                                   \
    if (!(condition)) ::r1::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

namespace r1 {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

// The same error with "where: " in front of its message.
[[nodiscard]] inline absl::Status Annotate(const absl::Status& status, absl::string_view where) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(where, ": ", status.message()));
}

}  // namespace r1
