#include "rewards/plugin/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/utf8.h"

namespace r1::rewards {
namespace {

constexpr size_t kReadBytes = 1 << 16;
constexpr size_t kErrorTextBytesMax = 2000;
// How long a process whose stdout ended has to end itself, so that its exit code is known.
constexpr int kReapTries = 100;
constexpr int kReapPauseMs = 2;

struct Pipe {
  int read = -1;
  int write = -1;
};

// Runs in the child between fork and exec: async-signal-safe calls only.
[[noreturn]] void BecomeProgram(char* const* argv, int input, int output, int errors,
                                pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  // dup2 leaves the copies open across exec; everything else we opened closes by itself.
  if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
      dup2(errors, STDERR_FILENO) < 0) {
    _exit(127);
  }
  execvp(argv[0], argv);
  const char message[] = "cannot execute: no such program, or not executable\n";
  (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
  _exit(127);
}

// SIGPIPE would end the process when the child has gone; a write then fails with EPIPE.
class SigpipeBlocked {
 public:
  SigpipeBlocked() {
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before_);
  }
  ~SigpipeBlocked() {
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    const timespec none = {};
    while (sigtimedwait(&pipe_signal, nullptr, &none) > 0) {  // one that is pending is ours
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& arguments) {
  R1_CHECK(!arguments.empty());
  Pipe pipes[3];
  absl::Cleanup close_all = [&pipes] {
    for (const Pipe& ends : pipes) {
      if (ends.read >= 0) close(ends.read);
      if (ends.write >= 0) close(ends.write);
    }
  };
  for (Pipe& ends : pipes) {
    int files[2];
    if (pipe2(files, O_CLOEXEC) != 0) {
      return absl::UnavailableError(absl::StrCat("cannot make a pipe: ", std::strerror(errno)));
    }
    ends = {files[0], files[1]};
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(argv.data(), pipes[0].read, pipes[1].write, pipes[2].write, parent);
  if (pid < 0) {
    return absl::UnavailableError(absl::StrCat("cannot fork: ", std::strerror(errno)));
  }
  setpgid(pid, pid);  // also here: whoever comes first
  for (const int file : {pipes[0].write, pipes[1].read, pipes[2].read}) {
    fcntl(file, F_SETFL, O_NONBLOCK);
  }
  std::unique_ptr<ChildProcess> child(new ChildProcess(pid, std::exchange(pipes[0].write, -1),
                                                       std::exchange(pipes[1].read, -1),
                                                       std::exchange(pipes[2].read, -1)));
  return child;
}

ChildProcess::~ChildProcess() {
  close(input_);
  kill(-pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(output_);
  close(errors_);
}

absl::StatusOr<std::string> ChildProcess::Exchange(absl::string_view line, double timeout_seconds,
                                                   size_t reply_bytes_max) {
  if (!received_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected one line of reply, found more: ", Quoted(received_)));
  }
  const SigpipeBlocked sigpipe_blocked;
  const std::string message = absl::StrCat(line, "\n");
  absl::string_view unsent = message;
  const double deadline = RealClock().MonotonicSeconds() + timeout_seconds;
  for (size_t searched = 0;;) {
    const size_t line_break = received_.find('\n', searched);
    if (line_break <= reply_bytes_max) {
      std::string reply = received_.substr(0, line_break);
      received_.erase(0, line_break + 1);
      return reply;
    }
    searched = received_.size();
    if (searched > reply_bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("expected a reply of at most ", reply_bytes_max, " bytes, found a longer"));
    }
    const double left = deadline - RealClock().MonotonicSeconds();
    if (left <= 0) {
      return absl::DeadlineExceededError(
          absl::StrFormat("no reply within %g s%s", timeout_seconds, LastWords()));
    }
    pollfd files[] = {{.fd = output_, .events = POLLIN, .revents = 0},
                      {.fd = errors_open_ ? errors_ : -1, .events = POLLIN, .revents = 0},
                      {.fd = unsent.empty() ? -1 : input_, .events = POLLOUT, .revents = 0}};
    poll(files, std::size(files), static_cast<int>(std::min(std::ceil(left * 1000), 1e6)));
    if (files[1].revents != 0) ReadErrors();
    if (files[0].revents != 0 && !ReadSome(output_, received_)) return Ended();
    if (files[2].revents != 0) {
      const ssize_t sent = write(input_, unsent.data(), unsent.size());
      if (sent > 0) unsent.remove_prefix(static_cast<size_t>(sent));
      // A process that reads no more may still have answered: its stdout decides.
      if (sent < 0 && errno == EPIPE) unsent = {};
    }
  }
}

bool ChildProcess::ReadSome(int file, std::string& text) {
  const size_t before = text.size();
  text.resize(before + kReadBytes);
  const ssize_t got = read(file, text.data() + before, kReadBytes);
  const bool again = got < 0 && (errno == EAGAIN || errno == EINTR);
  text.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return got > 0 || again;
}

void ChildProcess::ReadErrors() {
  errors_open_ = errors_open_ && ReadSome(errors_, error_text_);
  if (error_text_.size() > 2 * kErrorTextBytesMax) {
    error_text_.erase(0, error_text_.size() - kErrorTextBytesMax);
  }
}

absl::Status ChildProcess::Ended() {
  // Not reaped here: the destructor does that.
  siginfo_t how = {};
  for (int i = 0; i < kReapTries && how.si_pid == 0; ++i) {
    if (i > 0) poll(nullptr, 0, kReapPauseMs);
    waitid(P_PID, static_cast<id_t>(pid_), &how, WEXITED | WNOHANG | WNOWAIT);
  }
  ReadErrors();
  std::string end = "closed its stdout";
  if (how.si_pid != 0 && how.si_code == CLD_EXITED) {
    end = absl::StrCat("ended with exit code ", how.si_status);
  } else if (how.si_pid != 0) {
    end = absl::StrCat("ended by signal ", how.si_status, " (", strsignal(how.si_status), ")");
  }
  return absl::UnavailableError(absl::StrCat(end, LastWords()));
}

std::string ChildProcess::LastWords() const {
  if (error_text_.empty()) return "";
  const size_t from = error_text_.size() - std::min(error_text_.size(), kErrorTextBytesMax);
  return absl::StrCat("; last on stderr: ", Quoted(error_text_.substr(from), kErrorTextBytesMax));
}

}  // namespace r1::rewards
