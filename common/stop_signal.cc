#include "common/stop_signal.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "common/status.h"

namespace r1 {

void StopSignal::Raise() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    raised_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
}

bool StopSignal::WaitFor(double seconds) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                           [this] { return raised(); });
}

StopSignal& ProcessStopSignal() {
  static auto* signal = new StopSignal;
  return *signal;
}

void InstallSignalHandlers() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  // Blocked here and in every thread started later; the thread below takes them one by one.
  R1_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  ProcessStopSignal();
  std::thread([signals] {
    for (;;) {
      int received = 0;
      if (sigwait(&signals, &received) != 0) continue;
      if (ProcessStopSignal().raised()) _exit(130);
      ProcessStopSignal().Raise();
    }
  }).detach();
}

}  // namespace r1
