// The zygote's system calls: a shared library that zygote.py loads. r1_zygote_serve answers
// RunRequests by forking the warm interpreter into the run's namespaces; it returns only in such a
// child, confined and ready to run foreign code.

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "rewards/code/sandbox/channel.h"
#include "rewards/code/sandbox/inside/confine.h"
#include "rewards/code/sandbox/protocol.h"

namespace r1::rewards::code {
namespace {

struct Job {
  pid_t pid = 0;
  uint32_t run = 0;
};

class Zygote {
 public:
  Zygote() : tools_(MakeConfineTools()) {}

  // Returns in a child only.
  void Serve() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    const int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    own_pid_namespace_ = static_cast<int>(syscall(__NR_pidfd_open, getpid(), 0));
    Reply ready;
    ready.kind = ReplyKind::kSlotReady;
    if (signals < 0 || own_pid_namespace_ < 0) ready = MakeFailedReply(0, FailedAt("signalfd"));
    Send(ready);
    for (;;) {
      pollfd waits[] = {{.fd = kControlFd, .events = POLLIN, .revents = 0},
                        {.fd = signals, .events = POLLIN, .revents = 0}};
      if (poll(waits, 2, -1) < 0 && errno != EINTR) _exit(1);
      if (waits[1].revents != 0) {
        signalfd_siginfo info;
        while (read(signals, &info, sizeof(info)) > 0) continue;
        Reap();
      }
      if (waits[0].revents != 0 && Answer()) return;
    }
  }

 private:
  void Send(const Reply& reply) {
    if (!SendMessage(kControlFd, &reply, sizeof(reply), nullptr, 0)) _exit(1);
  }

  void Reap() {
    rusage usage;
    int status = 0;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;) {
      for (Job& job : jobs_) {
        if (job.pid == pid) {
          job.pid = 0;
          Send(MakeFinishedReply(job.run, status, usage));
        }
      }
    }
  }

  // True in the child. The message's first descriptor is the run's init.
  bool Answer() {
    RunRequest request;
    Descriptors descriptors;
    if (ReceiveMessage(kControlFd, &request, sizeof(request), descriptors) <= 0) _exit(0);
    const int init = descriptors.Take(--descriptors.count);
    const bool enters = Contains(request.layers, Layer::kPidNamespace);
    if (enters && setns(init, CLONE_NEWPID) != 0) {
      Send(MakeFailedReply(request.run, FailedAt("zygote: enter the run's pid namespace")));
      close(init);
      return false;
    }
    const pid_t pid = fork();
    if (pid == 0) {
      const Failure failure = ConfineSelf(request, descriptors, init, kControlFd, tools_);
      if (failure) ReportAndExit(kReportFd, request.run, failure);
      close(kReportFd);
      return true;
    }
    const Failure fork_failure = pid < 0 ? FailedAt("zygote: fork") : Failure{};
    if (enters && setns(own_pid_namespace_, CLONE_NEWPID) != 0) _exit(1);
    close(init);
    if (fork_failure) {
      Send(MakeFailedReply(request.run, fork_failure));
      return false;
    }
    jobs_[request.run] = {pid, request.run};
    Reply started;
    started.kind = ReplyKind::kRunStarted;
    started.run = request.run;
    started.pid = pid;
    Send(started);
    return false;
  }

  const ConfineTools tools_;
  int own_pid_namespace_ = -1;
  Job jobs_[kRunsAtOnceMax];
};

}  // namespace
}  // namespace r1::rewards::code

extern "C" void r1_zygote_serve() { r1::rewards::code::Zygote().Serve(); }
