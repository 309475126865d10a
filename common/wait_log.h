// "Nothing hangs without a name": a wait that polls this says after 10 s, and then every 10 s, what
// it waits for and how long already.
//
//   WaitLog log(clock);
//   while (!done) { WaitALittle(); log.Poll([&] { return "12 of 64 groups from w1"; }); }
#pragma once

#include "common/clock.h"
#include "common/log.h"

namespace r1 {

// Not thread-safe.
class WaitLog {
 public:
  explicit WaitLog(const Clock& clock) : clock_(clock), since_(clock.MonotonicSeconds()) {}

  // `describe` returns text and is called only when a line is due.
  template <typename Describe>
  void Poll(const Describe& describe) {
    const double waited = seconds();
    if (waited < next_) return;
    next_ = waited + kEverySeconds;
    R1_LOG(kWarning) << "waiting for " << describe() << " since " << static_cast<int>(waited)
                     << " s";
  }

  double seconds() const { return clock_.MonotonicSeconds() - since_; }

 private:
  static constexpr double kEverySeconds = 10;

  const Clock& clock_;
  const double since_;
  double next_ = kEverySeconds;
};

}  // namespace r1
