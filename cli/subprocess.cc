#include "cli/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/stop_signal.h"

namespace r1::cli {
namespace {

// Runs in the child between fork and exec: async-signal-safe calls only.
[[noreturn]] void BecomeProgram(const std::vector<char*>& argv, int output, pid_t parent,
                                SignalMask mask) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  if (mask == SignalMask::kClear) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
  }
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
      dup2(output, STDERR_FILENO) < 0) {
    _exit(127);
  }
  execvp(argv[0], argv.data());
  _exit(127);
}

}  // namespace

std::string ProcessEnd::ToString() const {
  if (by_signal) return absl::StrCat("signal ", code - 128, " (", strsignal(code - 128), ")");
  return absl::StrCat("exit code ", code);
}

absl::StatusOr<Subprocess> Subprocess::Start(const std::vector<std::string>& arguments,
                                             const std::string& output_path, SignalMask mask) {
  const int output = open(output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) {
    return absl::UnavailableError(
        absl::StrCat(output_path, ": cannot open: ", std::strerror(errno)));
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(argv, output, parent, mask);
  const int error = errno;
  close(output);
  if (pid < 0) return absl::UnavailableError(absl::StrCat("cannot fork: ", std::strerror(error)));
  setpgid(pid, pid);  // also here: whoever comes first
  return Subprocess(pid);
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), end_(std::move(other.end_)) {}

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  if (this != &other) {
    if (pid_ > 0 && !Poll()) WaitOrKill(0);
    pid_ = std::exchange(other.pid_, -1);
    end_ = std::move(other.end_);
  }
  return *this;
}

Subprocess::~Subprocess() {
  if (pid_ > 0 && !Poll()) WaitOrKill(0);
}

std::optional<ProcessEnd> Subprocess::Poll() {
  if (end_ || pid_ <= 0) return end_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) {
    const bool by_signal = WIFSIGNALED(status);
    end_ = ProcessEnd{by_signal ? 128 + WTERMSIG(status) : WEXITSTATUS(status), by_signal};
  }
  return end_;
}

void Subprocess::Signal(int signal, bool whole_group) {
  if (pid_ > 0 && !Poll()) kill(whole_group ? -pid_ : pid_, signal);
}

ProcessEnd Subprocess::WaitOrKill(double seconds) {
  const double deadline = RealClock().MonotonicSeconds() + seconds;
  const StopSignal never;
  while (!Poll()) {
    if (RealClock().MonotonicSeconds() >= deadline) kill(-pid_, SIGKILL);
    never.WaitFor(0.01);
  }
  return *end_;
}

std::string OwnProgramPath() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  R1_CHECK(length > 0);
  return std::string(path, static_cast<size_t>(length));
}

}  // namespace r1::cli
