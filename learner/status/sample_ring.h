// The newest scored samples, for people to read: a bounded number of bytes, the oldest groups
// forgotten first. All samples of the run are in samples/; these are what the status page shows.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "common/status.h"
#include "proto/status.pb.h"

namespace r1::learner {

// Not thread-safe: StatusBoard holds its lock.
class SampleRing {
 public:
  static constexpr size_t kTextBytesMax = 64 * 1024;  // longer texts are cut, and say so
  static constexpr int kGroupsMax = 256;              // of one reply

  explicit SampleRing(size_t bytes_max) : bytes_max_(bytes_max) {}

  // Records of any number of groups; those of one group stand together. Text becomes valid UTF-8.
  void Add(std::vector<v1::SampleRecord> records);

  // InvalidArgument: step < -1, groups_max outside [0, kGroupsMax], or a purpose that is neither
  // train nor eval.
  [[nodiscard]] absl::StatusOr<v1::SamplesReply> Read(const v1::SamplesRequest& request) const;

  int64_t total() const { return total_; }

 private:
  struct StoredGroup {
    std::vector<v1::SampleRecord> samples;
    size_t bytes = 0;
  };

  const size_t bytes_max_;
  size_t bytes_ = 0;
  int64_t total_ = 0;
  std::deque<StoredGroup> groups_;  // oldest first
};

}  // namespace r1::learner
