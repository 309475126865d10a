// The sandbox's helper program. The grader, which has many threads and much memory, starts it with
// an empty environment and its end of a socket as kControlFd; it makes the slot's namespaces,
// becomes their supervisor, and ends when the slot does.

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "rewards/code/sandbox/channel.h"
#include "rewards/code/sandbox/inside/confine.h"
#include "rewards/code/sandbox/inside/slot_root.h"
#include "rewards/code/sandbox/inside/slot_server.h"

namespace r1::rewards::code {
namespace {

Failure WriteProcFile(pid_t pid, const char* name, const char* text) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return FailedAt(name);
  const bool is_written = write(file, text, strlen(text)) == static_cast<ssize_t>(strlen(text));
  const Failure failure = is_written ? Failure{} : FailedAt(name);
  close(file);
  return failure;
}

// One user inside: kInsideUid, which is a number of no account outside (or, without privileges, the
// user who runs this).
Failure MapUsers(pid_t slot, const SlotSettings& settings) {
  char line[64];
  if (geteuid() != 0) R1_RETURN_IF_FAILED(WriteProcFile(slot, "setgroups", "deny"));
  snprintf(line, sizeof(line), "%d %u 1\n", kInsideUid, settings.host_uid);
  R1_RETURN_IF_FAILED(WriteProcFile(slot, "uid_map", line));
  snprintf(line, sizeof(line), "%d %u 1\n", kInsideUid, settings.host_gid);
  return WriteProcFile(slot, "gid_map", line);
}

// What is permitted becomes effective.
Failure RaiseCapabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[2] = {};
  if (syscall(__NR_capget, &header, sets) != 0) return FailedAt("read capabilities");
  for (__user_cap_data_struct& set : sets) set.effective = set.permitted;
  if (syscall(__NR_capset, &header, sets) != 0) return FailedAt("raise capabilities");
  return {};
}

Failure EnterSlot(const SlotSettings& settings) {
  const bool is_mapped = Contains(settings.layers, Layer::kUserNamespace);
  const uid_t uid = is_mapped ? kInsideUid : settings.host_uid;
  const gid_t gid = is_mapped ? kInsideUid : settings.host_gid;
  // Without a user namespace (in a test) root's capabilities have to outlive the change of user.
  if (!is_mapped && prctl(PR_SET_KEEPCAPS, 1) != 0) return FailedAt("keep capabilities");
  if (setresgid(gid, gid, gid) != 0) return FailedAt("become the inside group");
  if (setresuid(uid, uid, uid) != 0) return FailedAt("become the inside user");
  R1_RETURN_IF_FAILED(RaiseCapabilities());
  // After the change of user, which would cancel it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return FailedAt("die with the supervisor");
  if (Contains(settings.layers, Layer::kMountNamespace)) {
    R1_RETURN_IF_FAILED(BuildSlotRoot(settings));
  }
  constexpr char kName[] = "box";
  if (Contains(settings.layers, Layer::kUtsNamespace) &&
      (sethostname(kName, strlen(kName)) != 0 || setdomainname("", 0) != 0)) {
    return FailedAt("sethostname");
  }
  return {};
}

[[noreturn]] void RunSlot(const SlotSettings& settings, int is_mapped_pipe) {
  char byte;
  if (read(is_mapped_pipe, &byte, 1) != 1) _exit(1);
  close(is_mapped_pipe);
  const Failure failure = EnterSlot(settings);
  if (failure) ReportAndExit(kControlFd, 0, failure);
  ServeSlot(settings);
  _exit(0);
}

unsigned long CloneFlags(LayerSet layers) {
  unsigned long flags = SIGCHLD;
  if (Contains(layers, Layer::kUserNamespace)) flags |= CLONE_NEWUSER;
  if (Contains(layers, Layer::kPidNamespace)) flags |= CLONE_NEWPID;
  if (Contains(layers, Layer::kMountNamespace)) flags |= CLONE_NEWNS;
  if (Contains(layers, Layer::kNetworkNamespace)) flags |= CLONE_NEWNET;
  if (Contains(layers, Layer::kIpcNamespace)) flags |= CLONE_NEWIPC;
  if (Contains(layers, Layer::kUtsNamespace)) flags |= CLONE_NEWUTS;
  return flags;
}

Failure StartSlot(const SlotSettings& settings, pid_t& slot) {
  if (geteuid() == 0 && setgroups(0, nullptr) != 0) return FailedAt("drop root's groups");
  int is_mapped[2];
  if (pipe2(is_mapped, O_CLOEXEC) != 0) return FailedAt("pipe");
  slot = static_cast<pid_t>(
      syscall(__NR_clone, CloneFlags(settings.layers), nullptr, nullptr, nullptr, 0));
  if (slot < 0) return FailedAt("make namespaces");
  if (slot == 0) {
    close(is_mapped[1]);
    RunSlot(settings, is_mapped[0]);
  }
  if (Contains(settings.layers, Layer::kUserNamespace)) {
    R1_RETURN_IF_FAILED(MapUsers(slot, settings));
  }
  if (write(is_mapped[1], "m", 1) != 1) return FailedAt("start the slot");
  return {};
}

int Main() {
  prctl(PR_SET_NAME, "r1-sandbox");  // started from memory, it has no name of its own
  syscall(__NR_close_range, kControlFd + 1, ~0u, 0);
  SlotSettings settings;
  Descriptors none;
  if (ReceiveMessage(kControlFd, &settings, sizeof(settings), none) <= 0) return 1;
  pid_t slot = -1;
  const Failure failure = StartSlot(settings, slot);
  if (failure) {
    if (slot > 0) kill(slot, SIGKILL);
    ReportAndExit(kControlFd, 0, failure);
  }
  // From here on the slot alone holds this end, so that the grader sees when it is gone.
  close(kControlFd);
  int status = 0;
  while (waitpid(slot, &status, 0) < 0 && errno == EINTR) continue;
  return 0;
}

}  // namespace
}  // namespace r1::rewards::code

int main() { return r1::rewards::code::Main(); }
