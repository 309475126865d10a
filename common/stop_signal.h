// "Please stop": raised by SIGINT or SIGTERM, or by code. Waits all over the program wake up from
// it. A second signal ends the process at once with exit code 130.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace r1 {

// Thread-safe.
class StopSignal {
 public:
  bool raised() const { return raised_.load(std::memory_order_acquire); }
  void Raise();
  // Sleeps, but not past Raise(). True when raised.
  bool WaitFor(double seconds) const;

 private:
  std::atomic<bool> raised_{false};
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
};

// The process's own, raised by SIGINT and SIGTERM after InstallSignalHandlers.
StopSignal& ProcessStopSignal();
// Handles SIGINT and SIGTERM on a thread of its own (so that waits wake up), ignores SIGPIPE. Call
// once, before any other thread is started.
void InstallSignalHandlers();

}  // namespace r1
