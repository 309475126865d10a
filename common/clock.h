// Time as a seam: production code asks a Clock, the simulation brings its own. Monotonic time
// decides every timeout; wall time is only ever printed.
#pragma once

#include <cstdint>

namespace r1 {

class Clock {
 public:
  virtual ~Clock() = default;
  // Seconds since some fixed point; never goes back.
  virtual double MonotonicSeconds() const = 0;
  // Seconds since 1970-01-01 UTC.
  virtual double UnixSeconds() const = 0;
};

// The machine's clock; lives for ever. Thread-safe.
const Clock& RealClock();

// A clock that stands still until it is told otherwise. Not thread-safe.
class ManualClock : public Clock {
 public:
  double MonotonicSeconds() const override { return seconds_; }
  double UnixSeconds() const override { return 1.7e9 + seconds_; }
  void Advance(double seconds) { seconds_ += seconds; }

 private:
  double seconds_ = 0;
};

}  // namespace r1
