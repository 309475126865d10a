#include "rewards/code/sandbox/inside/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "rewards/code/sandbox/inside/landlock.h"
#include "rewards/code/sandbox/inside/seccomp_filter.h"

namespace r1::rewards::code {
namespace {

Failure JoinCgroups(const RunRequest& request, const Descriptors& descriptors) {
  for (uint32_t i = 0; i < request.cgroups; ++i) {
    const int procs = descriptors.fds[descriptors.count - 1 - static_cast<int>(i)];
    if (write(procs, "0", 1) != 1) return FailedAt("join the run's control group");
  }
  return {};
}

Failure EnterRun(LayerSet layers, int init) {
  int flags = 0;
  if (Contains(layers, Layer::kMountNamespace)) flags |= CLONE_NEWNS;
  if (Contains(layers, Layer::kIpcNamespace)) flags |= CLONE_NEWIPC;
  if (flags != 0 && setns(init, flags) != 0) return FailedAt("enter the run's namespaces");
  if (Contains(layers, Layer::kMountNamespace) && chdir("/box/w") != 0) {
    return FailedAt("change to /box/w");
  }
  return {};
}

// Moves the descriptors to where the job expects them and closes the rest.
Failure PlaceDescriptors(const RunRequest& request, const Descriptors& descriptors, int report) {
  const int given = 3 + static_cast<int>(request.passed);
  // First out of the way of each other, then into place.
  int moved[kDescriptorsMax];
  for (int i = 0; i < given; ++i) {
    moved[i] = fcntl(descriptors.fds[i], F_DUPFD_CLOEXEC, kReportFd + 1);
    if (moved[i] < 0) return FailedAt("move a descriptor");
  }
  if (report != kReportFd && dup3(report, kReportFd, O_CLOEXEC) < 0) {
    return FailedAt("move the report socket");
  }
  if (request.program == Program::kDescriptor &&
      dup3(descriptors.fds[given], kProgramFd, O_CLOEXEC) < 0) {
    return FailedAt("move the program");
  }
  for (int i = 0; i < given; ++i) {
    if (dup2(moved[i], i) < 0) return FailedAt("place a descriptor");
  }
  const unsigned first_hole = static_cast<unsigned>(given);
  const unsigned holes_end = request.program == Program::kDescriptor ? kProgramFd : kReportFd;
  if (syscall(__NR_close_range, first_hole, holes_end - 1, 0) != 0 ||
      syscall(__NR_close_range, kReportFd + 1, ~0u, 0) != 0) {
    return FailedAt("close descriptors");
  }
  return {};
}

Failure Limit(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  const rlimit limit{.rlim_cur = soft, .rlim_max = hard};
  if (setrlimit(resource, &limit) != 0) return FailedAt("set a resource limit");
  return {};
}

Failure LimitResources(const RunRequest& request) {
  constexpr rlim_t kStackBytes = 256 << 20;  // deep recursion is no fault; memory is limited anyway
  constexpr rlim_t kOpenFiles = 256;
  rlimit stack;
  if (getrlimit(RLIMIT_STACK, &stack) != 0) return FailedAt("read the stack limit");
  const rlim_t stack_bytes = kStackBytes < stack.rlim_max ? kStackBytes : stack.rlim_max;
  // SIGXCPU a second before SIGKILL, so that the verdict is a timeout in either case.
  R1_RETURN_IF_FAILED(Limit(RLIMIT_CPU, request.cpu_seconds, request.cpu_seconds + 1));
  R1_RETURN_IF_FAILED(Limit(RLIMIT_FSIZE, request.files_bytes, request.files_bytes));
  R1_RETURN_IF_FAILED(Limit(RLIMIT_NOFILE, kOpenFiles, kOpenFiles));
  R1_RETURN_IF_FAILED(Limit(RLIMIT_CORE, 0, 0));
  R1_RETURN_IF_FAILED(Limit(RLIMIT_MEMLOCK, 0, 0));
  R1_RETURN_IF_FAILED(Limit(RLIMIT_MSGQUEUE, 0, 0));
  R1_RETURN_IF_FAILED(Limit(RLIMIT_STACK, stack_bytes, stack_bytes));
  if (request.address_space_bytes > 0) {
    R1_RETURN_IF_FAILED(Limit(RLIMIT_AS, request.address_space_bytes, request.address_space_bytes));
  }
  if (request.processes > 0) {
    R1_RETURN_IF_FAILED(Limit(RLIMIT_NPROC, request.processes, request.processes));
  }
  return {};
}

Failure ResetSignals() {
  struct sigaction default_action {};
  default_action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &default_action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return FailedAt("unblock signals");
  return {};
}

}  // namespace

Failure DropCapabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2] = {};
  if (syscall(__NR_capset, &header, none) != 0) return FailedAt("drop capabilities");
  return {};
}

ConfineTools MakeConfineTools() {
  return {.seccomp_filter = MakeSeccompFilter(), .landlock_version = LandlockVersion()};
}

Failure ConfineSelf(const RunRequest& request, Descriptors& descriptors, int init, int report,
                    const ConfineTools& tools) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return FailedAt("die with the server");
  R1_RETURN_IF_FAILED(JoinCgroups(request, descriptors));
  R1_RETURN_IF_FAILED(EnterRun(request.layers, init));
  if (setsid() < 0) return FailedAt("start a session");
  umask(022);
  // Python ignores some signals; a job starts with all as they are by default.
  R1_RETURN_IF_FAILED(ResetSignals());
  R1_RETURN_IF_FAILED(PlaceDescriptors(request, descriptors, report));
  descriptors.count = 0;
  if (Contains(request.layers, Layer::kResourceLimits)) {
    R1_RETURN_IF_FAILED(LimitResources(request));
  }
  if (Contains(request.layers, Layer::kCapabilities)) R1_RETURN_IF_FAILED(DropCapabilities());
  // Needed by the filters below, so it is not a part of a layer that can be off.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return FailedAt("set no_new_privs");
  if (Contains(request.layers, Layer::kLandlock)) {
    R1_RETURN_IF_FAILED(RestrictWithLandlock(tools.landlock_version));
  }
  if (Contains(request.layers, Layer::kSeccomp)) {
    R1_RETURN_IF_FAILED(InstallSeccompFilter(tools.seccomp_filter));
  }
  return {};
}

Reply MakeFailedReply(uint32_t run, const Failure& failure) {
  Reply reply;
  reply.kind = ReplyKind::kFailed;
  reply.run = run;
  reply.error = failure.error;
  strncpy(reply.step, failure.step, sizeof(reply.step) - 1);
  return reply;
}

Reply MakeFinishedReply(uint32_t run, int wait_status, const rusage& usage) {
  Reply reply;
  reply.kind = ReplyKind::kRunFinished;
  reply.run = run;
  reply.wait_status = wait_status;
  reply.cpu_microseconds =
      static_cast<uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
      static_cast<uint64_t>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  reply.resident_kib_max = static_cast<uint64_t>(usage.ru_maxrss);
  return reply;
}

void ReportAndExit(int report, uint32_t run, const Failure& failure) {
  Reply reply = MakeFailedReply(run, failure);
  reply.pid = getpid();
  (void)SendMessage(report, &reply, sizeof(reply), nullptr, 0);
  _exit(1);
}

}  // namespace r1::rewards::code
