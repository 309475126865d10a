// What a rendering may spend: one unit for each evaluated node and each byte or element that is
// made or compared. Bounds time and memory alike, since memory is made by spending.
#pragma once

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace r1::jinja {

// Not thread-safe.
class Budget {
 public:
  explicit Budget(uint64_t units) : units_(units), left_(units) {}

  // ResourceExhausted when more is asked for than is left.
  [[nodiscard]] absl::Status Spend(uint64_t units) {
    if (units > left_) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the template does more work than its limit of ", units_, " steps and bytes"));
    }
    left_ -= units;
    return absl::OkStatus();
  }

 private:
  const uint64_t units_;
  uint64_t left_;
};

}  // namespace r1::jinja
