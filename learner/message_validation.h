// What workers and ranks send is checked here before anything uses it: who is meant, then shapes
// and numbers of a group, with the path of the offending field in the error; then the group's
// summary, which rank 0 checks against the lease.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

// Largest messages on the wire.
inline constexpr int kDataBytesMax = 64 << 20;
inline constexpr int kControlBytesMax = 1 << 20;

// FailedPrecondition naming both unless the two are the same learner.
[[nodiscard]] absl::Status CheckSameLearner(const v1::RunIdentity& here,
                                            const v1::RunIdentity& meant);

// InvalidArgument unless the text fits and is UTF-8.
[[nodiscard]] absl::Status CheckText(absl::string_view text, size_t bytes_max,
                                     absl::string_view path);

// Everything that can be judged without the lease. InvalidArgument.
[[nodiscard]] absl::Status ValidateGroup(const v1::Group& group);

// The report of a valid group that rank `rank` received.
v1::ReportGroupRequest Summarize(const v1::Group& group, uint32_t rank);

// A report, which may come from another rank. InvalidArgument.
[[nodiscard]] absl::Status ValidateReport(const v1::ReportGroupRequest& report);

// The limits of the lease. InvalidArgument.
struct LeaseLimits {
  uint32_t vocab_size = 0;
  uint32_t response_tokens_max = 0;
  uint64_t policy_version = 0;
  bool strict = true;           // every token is of exactly this version
  uint64_t newest_version = 0;  // else up to this one
};
[[nodiscard]] absl::Status CheckLimits(const v1::ReportGroupRequest& report,
                                       const LeaseLimits& limits);

}  // namespace r1::learner
