// A process that answers one line with one line on its stdin and stdout, under a deadline. Its
// stderr is read, too: the last of it stands in errors. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace r1::rewards {

class ChildProcess {
 public:
  // arguments[0] is looked for in PATH. The process has a group of its own, which the destructor
  // kills and reaps, and it ends when the thread that started it does. Unavailable: it cannot be
  // started.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Writes the line and reads one. After an error the process is of no more use.
  //   DeadlineExceeded: no whole line in time.
  //   Unavailable: the process has ended; how, and its last words.
  //   ResourceExhausted: the line is longer than reply_bytes_max.
  //   InvalidArgument: there was more than one line.
  [[nodiscard]] absl::StatusOr<std::string> Exchange(absl::string_view line, double timeout_seconds,
                                                     size_t reply_bytes_max);

 private:
  ChildProcess(pid_t pid, int input, int output, int errors)
      : pid_(pid), input_(input), output_(output), errors_(errors) {}

  // Appends what there is to read; false at the end.
  static bool ReadSome(int file, std::string& text);
  void ReadErrors();
  absl::Status Ended();
  std::string LastWords() const;

  const pid_t pid_;
  const int input_;   // its stdin
  const int output_;  // its stdout
  const int errors_;  // its stderr
  bool errors_open_ = true;
  std::string received_;
  std::string error_text_;
};

}  // namespace r1::rewards
