// A child process of `r1 run`: its own process group (so that Ctrl-C at the terminal reaches only
// the parent), ended by the kernel when the parent dies, stdout and stderr appended to a file.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "common/status.h"

namespace r1::cli {

// How a process ended: exit code, or 128 + signal.
struct ProcessEnd {
  int code = 0;
  bool by_signal = false;
  std::string ToString() const;  // "exit code 3", "signal 9 (Killed)"
};

// Which signals the program starts with. kKeep: those that this process blocks stay blocked, so
// that a SIGTERM that comes before an r1 program listens (common/stop_signal.h) waits for it
// instead of ending it. kClear: none is blocked, for programs that are not ours.
enum class SignalMask { kKeep, kClear };

// Not thread-safe. The destructor kills a process that still runs, with its group, and reaps it.
class Subprocess {
 public:
  // arguments[0] is the program's path. Unavailable when it cannot be started.
  [[nodiscard]] static absl::StatusOr<Subprocess> Start(const std::vector<std::string>& arguments,
                                                        const std::string& output_path,
                                                        SignalMask mask);
  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&& other) noexcept;
  ~Subprocess();

  pid_t pid() const { return pid_; }
  // Null while it runs.
  std::optional<ProcessEnd> Poll();
  // Sends a signal to the process alone, or to its whole group.
  void Signal(int signal, bool whole_group = false);
  // Waits for the end, at most so long, then kills the group.
  ProcessEnd WaitOrKill(double seconds);

 private:
  explicit Subprocess(pid_t pid) : pid_(pid) {}
  pid_t pid_ = -1;
  std::optional<ProcessEnd> end_;
};

// Path of the running program.
std::string OwnProgramPath();

}  // namespace r1::cli
