#include "rewards/code/sandbox/helper_program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "rewards/code/sandbox/memory_file.h"
#include "rewards/code/sandbox/owned_fd.h"
#include "rewards/code/sandbox/protocol.h"

// R1_SANDBOX_HELPER is a path, from CMakeLists.txt.
asm(".section .rodata\n"
    ".balign 16\n"
    "r1_sandbox_helper_begin: .incbin \"" R1_SANDBOX_HELPER
    "\"\n"
    "r1_sandbox_helper_end:\n"
    ".previous\n");

extern "C" {
extern const char r1_sandbox_helper_begin[];
extern const char r1_sandbox_helper_end[];
}

namespace r1::rewards::code {
namespace {

// As an anonymous file, made once. Its descriptor is out of the way of those that a helper gets.
absl::StatusOr<int> HelperFile() {
  static const auto* const file = new absl::StatusOr<OwnedFd>([]() -> absl::StatusOr<OwnedFd> {
    R1_ASSIGN_OR_RETURN(
        const OwnedFd made,
        MakeMemoryFile("r1-sandbox",
                       {r1_sandbox_helper_begin,
                        static_cast<size_t>(r1_sandbox_helper_end - r1_sandbox_helper_begin)}));
    OwnedFd high(fcntl(made.get(), F_DUPFD_CLOEXEC, 100));
    if (!high.is_open()) {
      return absl::UnavailableError(absl::StrCat("fcntl(F_DUPFD): ", strerror(errno)));
    }
    return high;
  }());
  if (!file->ok()) return file->status();
  return (*file)->get();
}

}  // namespace

absl::StatusOr<pid_t> StartHelper(int control, LayerSet layers) {
  R1_ASSIGN_OR_RETURN(const int program, HelperFile());
  const OwnedFd moved(fcntl(control, F_DUPFD_CLOEXEC, 100));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) {
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  }
  posix_spawn_file_actions_adddup2(&actions, moved.get(), kControlFd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // A group of its own: Ctrl-C at the terminal is for the grader alone.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  const std::string path = absl::StrCat("/proc/self/fd/", program);
  char name[] = "r1-sandbox";
  char* const arguments[] = {name, nullptr};
  char* const no_environment[] = {nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, path.c_str(), &actions, &attributes, arguments,
                                Contains(layers, Layer::kEnvironment) ? no_environment : environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot start the sandbox's helper program from memory: ", strerror(error),
                     error == EACCES ? " (is sysctl vm.memfd_noexec set?)" : ""));
  }
  return pid;
}

}  // namespace r1::rewards::code
