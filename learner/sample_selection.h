// Which samples of a rejection_sampling stage are kept (DeepSeek-R1, 2501.12948 §2.3.3). Pure: no
// clock, no I/O; what was kept before is remembered, so that a prompt that comes again brings no
// duplicates.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "proto/config.pb.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

struct SampleVerdict {
  // Right by all rules. What counts for the prompt's pass rate.
  bool passed = false;
  // Empty: kept. Else the first reason against it: "masked", "truncated", "too_short", "too_long",
  // the name of a keep rule; of those that passed, "duplicate" or "not_among_best".
  std::string reason = {};
  bool kept() const { return reason.empty(); }
};

// Not thread-safe.
class SampleSelector {
 public:
  explicit SampleSelector(const v1::RejectionSamplingConfig& config) : config_(config) {}

  // Verdicts of the group's samples, in their order; those kept are remembered. Equal texts of one
  // prompt are told by 64-bit hashes.
  std::vector<SampleVerdict> Judge(absl::string_view prompt, const v1::Group& group);
  // A response that was kept before this process began.
  void Remember(absl::string_view prompt, absl::string_view response);

 private:
  std::string FirstFault(const v1::Sample& sample) const;
  // Whether `a` goes before `b` when not all can be kept.
  bool IsBetter(const v1::Sample& a, const v1::Sample& b) const;
  uint64_t TextKey(absl::string_view prompt, absl::string_view response) const;

  const v1::RejectionSamplingConfig config_;
  std::set<uint64_t> texts_;                // keys of what was kept
  std::map<uint64_t, int> kept_of_prompt_;  // by the prompt's hash
};

}  // namespace r1::learner
