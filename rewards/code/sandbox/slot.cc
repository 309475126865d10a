#include "rewards/code/sandbox/slot.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "rewards/code/sandbox/channel.h"
#include "rewards/code/sandbox/helper_program.h"

namespace r1::rewards::code {
namespace {

// Long enough for a starved machine to import Python's library, and to precompile two headers.
constexpr int kStartTimeoutMs = 120000;
constexpr int kHeaderTimeoutMs = 600000;
constexpr int kEndTimeoutMs = 10000;

// Host users that no account has: above the range of systemd's dynamic and container users.
constexpr uint32_t kHostUidBase = 0x70000000;

// What to turn for a step that the kernel refused.
std::string Knob(absl::string_view step, int error) {
  if (step == "make namespaces" || absl::StrContains(step, "_map") || step == "setgroups" ||
      absl::StrContains(step, "mounts private") || step == "mount a tmpfs") {
    return "; allow user namespaces: sysctl user.max_user_namespaces > 0, "
           "kernel.unprivileged_userns_clone=1 (Debian), "
           "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04), and in Docker a seccomp "
           "profile that allows clone and unshare (--security-opt seccomp=…)";
  }
  if (absl::StrContains(step, "seccomp")) return "; the kernel needs CONFIG_SECCOMP_FILTER";
  if (absl::StrContains(step, "Landlock")) return "; the kernel needs landlock in lsm=";
  if (absl::StrContains(step, "python3")) return "; install the package python3";
  if (absl::StrContains(step, "g++")) return "; install the package g++";
  return error == ENOSYS ? "; the kernel is too old" : "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Slot>> Slot::Start(SlotSettings settings) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::UnavailableError(absl::StrCat("socketpair: ", strerror(errno)));
  }
  OwnedFd own(ends[0]), theirs(ends[1]);
  R1_ASSIGN_OR_RETURN(const pid_t helper, StartHelper(theirs.get(), settings.layers));
  theirs.Close();
  const bool is_root = geteuid() == 0;
  settings.host_uid = is_root ? kHostUidBase + static_cast<uint32_t>(helper) : geteuid();
  settings.host_gid = is_root ? settings.host_uid : getegid();
  std::unique_ptr<Slot> slot(new Slot(settings, std::move(own), helper));
  if (!SendMessage(slot->control(), &settings, sizeof(settings), nullptr, 0)) {
    return absl::UnavailableError(absl::StrCat("talk to the sandbox's helper: ", strerror(errno)));
  }
  pollfd wait{.fd = slot->control(), .events = POLLIN, .revents = 0};
  const int timeout_ms = settings.with_header != 0 ? kHeaderTimeoutMs : kStartTimeoutMs;
  if (poll(&wait, 1, timeout_ms) <= 0) {
    return absl::UnavailableError(
        absl::StrCat("the sandbox did not start within ", timeout_ms / 1000, " s"));
  }
  OwnedFd none;
  R1_ASSIGN_OR_RETURN(const Reply reply, slot->Receive(none));
  if (reply.kind != ReplyKind::kSlotReady) {
    return absl::UnavailableError(absl::StrCat("the kernel refused to ", reply.step, ": ",
                                               strerror(reply.error),
                                               Knob(reply.step, reply.error)));
  }
  return slot;
}

void Slot::End() {
  is_broken_ = true;
  if (helper_ <= 0) return;
  control_.Close();  // the server inside ends when it sees this, and the kernel ends the rest
  for (int waited_ms = 0;; waited_ms += 2) {
    const pid_t reaped = waitpid(helper_, nullptr, WNOHANG);
    if (reaped == helper_ || (reaped < 0 && errno == ECHILD)) break;
    if (waited_ms == kEndTimeoutMs) kill(helper_, SIGKILL);
    poll(nullptr, 0, 2);
  }
  helper_ = -1;
}

absl::Status Slot::Send(const RunRequest& request, const std::vector<int>& fds) {
  if (fds.size() >= kDescriptorsMax) {
    return absl::InternalError(absl::StrCat("a job with ", fds.size(), " descriptors"));
  }
  if (SendMessage(control(), &request, sizeof(request), fds.data(), static_cast<int>(fds.size()))) {
    return absl::OkStatus();
  }
  is_broken_ = true;
  return absl::UnavailableError(absl::StrCat("the sandbox's slot is gone: ", strerror(errno)));
}

absl::StatusOr<Reply> Slot::Receive(OwnedFd& init) {
  Reply reply;
  Descriptors descriptors;
  const ssize_t bytes = ReceiveMessage(control(), &reply, sizeof(reply), descriptors);
  if (bytes <= 0) {
    is_broken_ = true;
    return absl::UnavailableError(
        absl::StrCat("the sandbox's slot is gone: ", bytes == 0 ? "closed" : strerror(errno)));
  }
  reply.step[sizeof(reply.step) - 1] = '\0';
  if (descriptors.count > 0) init = OwnedFd(descriptors.Take(0));
  return reply;
}

}  // namespace r1::rewards::code
