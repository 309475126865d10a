#include "rewards/code/sandbox/inside/slot_server.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "rewards/code/sandbox/channel.h"
#include "rewards/code/sandbox/inside/confine.h"
#include "rewards/code/sandbox/inside/slot_root.h"

namespace r1::rewards::code {
namespace {

constexpr pid_t kPending = -1;

// One run from RunRequest to kRunFinished.
struct Run {
  bool is_active = false;
  LayerSet layers = kAllLayers;
  pid_t init = 0;  // 0: reaped
  int init_fd = -1;
  pid_t job = 0;  // 0: none, or reaped; kPending: the zygote has yet to say
  pid_t exporter = 0;
  int export_file = -1;
  uint64_t export_bytes_max = 0;
  bool is_failed = false;  // `finished` is a kFailed
  Reply finished;
};

// The first process of a run's namespaces: mounts the run's files, says so, and then only waits to
// be killed. What the job leaves behind becomes its child and is reaped by the kernel.
[[noreturn]] void RunInit(const RunRequest& request, int ready) {
  Failure failure;
  signal(SIGCHLD, SIG_IGN);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) failure = FailedAt("die with the server");
  if (!failure && Contains(request.layers, Layer::kMountNamespace)) {
    failure = MountRunFiles(request.files_bytes);
  }
  // setns by pidfd asks whether the caller may look into this process: it may when this one is
  // dumpable and holds no capability that the caller lacks.
  if (!failure) failure = DropCapabilities();
  if (!failure && prctl(PR_SET_DUMPABLE, 1) != 0) failure = FailedAt("become dumpable");
  const Reply reply = failure ? MakeFailedReply(request.run, failure) : Reply{};
  (void)!write(ready, &reply, sizeof(reply));
  // Nothing of the server's may stay open here: the grader sees its end by the closed sockets.
  syscall(__NR_close_range, 0, ~0u, 0);
  if (failure) _exit(1);
  for (;;) pause();
}

// Copies kExportPath of a run out. The file is the job's, so it is opened without following a link.
[[noreturn]] void RunExporter(const Run& run) {
  if (setns(run.init_fd, CLONE_NEWNS) != 0) _exit(1);
  const int file = open(kExportPath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat found;
  if (file < 0 || fstat(file, &found) != 0 || !S_ISREG(found.st_mode)) _exit(1);
  if (static_cast<uint64_t>(found.st_size) > run.export_bytes_max) _exit(1);
  for (off_t left = found.st_size; left > 0;) {
    const ssize_t sent = sendfile(run.export_file, file, nullptr, static_cast<size_t>(left));
    if (sent <= 0) _exit(1);
    left -= sent;
  }
  _exit(0);
}

[[noreturn]] void Execute(const RunRequest& request) {
  char* arguments[64] = {};
  size_t count = 0;
  const char* const end = request.arguments + request.argument_bytes;
  for (const char* at = request.arguments; at < end && count < 63; at += strlen(at) + 1) {
    arguments[count++] = const_cast<char*>(at);
  }
  static const char* const kEnvironment[] = {"PATH=/usr/bin:/bin", "HOME=/box/w", "LANG=C.UTF-8",
                                             nullptr};
  char* const* const environment = Contains(request.layers, Layer::kEnvironment)
                                       ? const_cast<char* const*>(kEnvironment)
                                       : environ;
  if (request.program == Program::kDescriptor) {
    syscall(__NR_execveat, kProgramFd, "", arguments, environment, AT_EMPTY_PATH);
  } else {
    execve(arguments[0], arguments, environment);
  }
  ReportAndExit(kReportFd, request.run, FailedAt("execute the program"));
}

class SlotServer {
 public:
  explicit SlotServer(const SlotSettings& settings)
      : settings_(settings), tools_(MakeConfineTools()) {}

  void Serve() {
    const Failure failure = Start();
    Reply ready;
    ready.kind = ReplyKind::kSlotReady;
    Send(failure ? MakeFailedReply(0, failure) : ready);
    while (!failure && !is_over_) Step();
    // Reaped, so that the processor time of all jobs arrives at the grader's RUSAGE_CHILDREN.
    if (zygote_ > 0 && kill(zygote_, SIGKILL) == 0) waitpid(zygote_, nullptr, 0);
  }

 private:
  Failure Start() {
    own_pid_namespace_ = static_cast<int>(syscall(__NR_pidfd_open, getpid(), 0));
    if (own_pid_namespace_ < 0) return FailedAt("pidfd_open (Linux 5.3)");
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &child, nullptr) != 0) return FailedAt("block SIGCHLD");
    signals_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) return FailedAt("signalfd");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, reports_) != 0) {
      return FailedAt("socketpair for reports");
    }
    return settings_.with_python != 0 ? StartZygote() : Failure{};
  }

  // The zygote makes namespaces for its children, so two capabilities over the slot's own user
  // namespace survive its exec. A job drops them before it sees foreign code.
  Failure StartZygote() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      return FailedAt("socketpair for the zygote");
    }
    zygote_ = fork();
    if (zygote_ < 0) return FailedAt("fork the zygote");
    if (zygote_ == 0) {
      const Failure failure = ExecuteZygote(ends[1]);
      ReportAndExit(kControlFd, 0, failure);
    }
    close(ends[1]);
    zygote_socket_ = ends[0];
    Reply ready;
    Descriptors none;
    if (ReceiveMessage(zygote_socket_, &ready, sizeof(ready), none) <= 0 ||
        ready.kind != ReplyKind::kSlotReady) {
      errno = ENOEXEC;
      return FailedAt("start /usr/bin/python3 (with ctypes) inside");
    }
    return {};
  }

  Failure ExecuteZygote(int socket) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct all[2] = {};
    if (syscall(__NR_capget, &header, all) != 0) return FailedAt("read capabilities");
    all[0].inheritable = (1u << CAP_SYS_ADMIN) | (1u << CAP_SYS_CHROOT);
    if (syscall(__NR_capset, &header, all) != 0) return FailedAt("set capabilities");
    for (const unsigned long capability : {CAP_SYS_ADMIN, CAP_SYS_CHROOT}) {
      if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
        return FailedAt("keep a capability for the zygote");
      }
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return FailedAt("die with the server");
    const int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) {
      if (null < 0 || dup2(null, fd) < 0) return FailedAt("open /dev/null");
    }
    if (dup2(socket, kControlFd) < 0) return FailedAt("place the zygote's socket");
    syscall(__NR_close_range, kControlFd + 1, ~0u, 0);
    const char* const arguments[] = {"/usr/bin/python3", "-s",   "-S", "-B", "-X", "utf8",
                                     "/r1/zygote.py",    nullptr};
    const char* const environment[] = {"PYTHONHASHSEED=0", nullptr};
    const bool is_clean = Contains(settings_.layers, Layer::kEnvironment);
    execve(arguments[0], const_cast<char* const*>(arguments),
           is_clean ? const_cast<char* const*>(environment) : environ);
    return FailedAt("execute /usr/bin/python3");
  }

  void Step() {
    pollfd waits[] = {{.fd = kControlFd, .events = POLLIN, .revents = 0},
                      {.fd = signals_, .events = POLLIN, .revents = 0},
                      {.fd = zygote_socket_, .events = POLLIN, .revents = 0}};
    if (poll(waits, 3, -1) < 0 && errno != EINTR) {
      is_over_ = true;
      return;
    }
    if (waits[1].revents != 0) {
      signalfd_siginfo info;
      while (read(signals_, &info, sizeof(info)) > 0) continue;
      Reap();
    }
    if (waits[2].revents != 0) HearZygote();
    if (waits[0].revents != 0) HearGrader();
  }

  void HearGrader() {
    RunRequest request;
    Descriptors descriptors;
    if (ReceiveMessage(kControlFd, &request, sizeof(request), descriptors) <= 0) {
      is_over_ = true;
      return;
    }
    Run& run = runs_[request.run];
    run = Run{};
    run.is_active = true;
    run.layers = request.layers;
    const Failure failure = StartRun(request, descriptors, run);
    if (failure) Fail(run, MakeFailedReply(request.run, failure));
  }

  Failure StartRun(const RunRequest& request, Descriptors& descriptors, Run& run) {
    R1_RETURN_IF_FAILED(StartInit(request, run));
    if (request.exports != 0) {
      const int at =
          3 + static_cast<int>(request.passed) + (request.program == Program::kDescriptor ? 1 : 0);
      run.export_file = fcntl(descriptors.fds[at], F_DUPFD_CLOEXEC, 0);
      run.export_bytes_max = request.export_bytes_max;
      if (run.export_file < 0) return FailedAt("keep the export file");
    }
    if (request.program == Program::kPython) {
      if (descriptors.count == kDescriptorsMax) return {.step = "descriptors", .error = E2BIG};
      int fds[kDescriptorsMax];
      memcpy(fds, descriptors.fds, sizeof(int) * static_cast<size_t>(descriptors.count));
      fds[descriptors.count] = run.init_fd;
      if (!SendMessage(zygote_socket_, &request, sizeof(request), fds, descriptors.count + 1)) {
        return FailedAt("send the job to the zygote");
      }
      run.job = kPending;
    } else {
      R1_RETURN_IF_FAILED(StartJob(request, descriptors, run));
    }
    Reply started;
    started.kind = ReplyKind::kRunStarted;
    started.run = request.run;
    if (!SendMessage(kControlFd, &started, sizeof(started), &run.init_fd, 1)) is_over_ = true;
    return {};
  }

  Failure StartInit(const RunRequest& request, Run& run) {
    unsigned long flags = CLONE_PIDFD;
    if (Contains(request.layers, Layer::kPidNamespace)) flags |= CLONE_NEWPID;
    if (Contains(request.layers, Layer::kMountNamespace)) flags |= CLONE_NEWNS;
    if (Contains(request.layers, Layer::kIpcNamespace)) flags |= CLONE_NEWIPC;
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) return FailedAt("pipe");
    const pid_t init =
        static_cast<pid_t>(syscall(__NR_clone, flags | SIGCHLD, nullptr, &run.init_fd, nullptr, 0));
    if (init == 0) RunInit(request, ready[1]);
    close(ready[1]);
    if (init < 0) {
      close(ready[0]);
      return FailedAt("make the run's namespaces");
    }
    run.init = init;
    fcntl(run.init_fd, F_SETFD, FD_CLOEXEC);
    Reply reply;
    const ssize_t got = read(ready[0], &reply, sizeof(reply));
    close(ready[0]);
    if (got != static_cast<ssize_t>(sizeof(reply))) {
      errno = ECHILD;
      return FailedAt("start the run's init");
    }
    if (reply.step[0] != '\0') {
      errno = reply.error;
      static char step[sizeof(reply.step)];
      memcpy(step, reply.step, sizeof(step));
      return FailedAt(step);
    }
    return {};
  }

  Failure StartJob(const RunRequest& request, Descriptors& descriptors, Run& run) {
    const bool enters = Contains(request.layers, Layer::kPidNamespace);
    if (enters && setns(run.init_fd, CLONE_NEWPID) != 0) {
      return FailedAt("enter the run's pid namespace");
    }
    const pid_t job = fork();
    if (job == 0) {
      const Failure failure = ConfineSelf(request, descriptors, run.init_fd, reports_[1], tools_);
      if (failure) ReportAndExit(kReportFd, request.run, failure);
      Execute(request);
    }
    const Failure failure = job < 0 ? FailedAt("fork the job") : Failure{};
    if (enters && setns(own_pid_namespace_, CLONE_NEWPID) != 0) is_over_ = true;
    run.job = failure ? 0 : job;
    return failure;
  }

  void HearZygote() {
    Reply reply;
    Descriptors none;
    if (ReceiveMessage(zygote_socket_, &reply, sizeof(reply), none) <= 0) {
      is_over_ = true;  // without its zygote a slot is of no use; the grader starts another
      return;
    }
    Run& run = runs_[reply.run];
    if (reply.kind == ReplyKind::kRunStarted) {
      run.job = reply.pid;
      // The init may have been killed before the job was in its namespace.
      if (run.init == 0) kill(run.job, SIGKILL);
    } else if (reply.kind == ReplyKind::kRunFinished) {
      JobEnded(run, reply);
    } else {
      if (reply.pid == 0) run.job = 0;
      Fail(run, reply);
    }
  }

  // What jobs of our own say when they cannot be confined.
  void HearReports() {
    Reply reply;
    Descriptors none;
    while (ReceiveMessage(reports_[0], &reply, sizeof(reply), none) > 0) {
      runs_[reply.run].is_failed = true;
      runs_[reply.run].finished = reply;
    }
  }

  void Reap() {
    HearReports();  // a job reports before it ends
    rusage usage;
    int status = 0;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;) {
      for (uint32_t i = 0; i < kRunsAtOnceMax; ++i) {
        Run& run = runs_[i];
        if (!run.is_active) continue;
        if (pid == run.init) {
          run.init = 0;
          if (run.job > 0) kill(run.job, SIGKILL);
          FinishIfDone(run);
        } else if (pid == run.job) {
          JobEnded(run, MakeFinishedReply(i, status, usage));
        } else if (pid == run.exporter) {
          run.exporter = 0;
          run.finished.exported = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
          EndInit(run);
        }
      }
    }
  }

  void JobEnded(Run& run, const Reply& finished) {
    run.job = 0;
    if (!run.is_failed) run.finished = finished;
    const bool is_good = WIFEXITED(finished.wait_status) && WEXITSTATUS(finished.wait_status) == 0;
    if (run.export_file >= 0 && is_good && run.init != 0 && !run.is_failed) {
      run.exporter = fork();
      if (run.exporter == 0) RunExporter(run);
      if (run.exporter > 0) return;
      run.exporter = 0;
    }
    EndInit(run);
  }

  // A job that never came to be: the reply is kFailed once the run's init is gone.
  void Fail(Run& run, const Reply& failed) {
    run.is_failed = true;
    run.finished = failed;
    EndInit(run);
  }

  void EndInit(Run& run) {
    if (run.init != 0) syscall(__NR_pidfd_send_signal, run.init_fd, SIGKILL, nullptr, 0);
    FinishIfDone(run);
  }

  void FinishIfDone(Run& run) {
    if (!run.is_active || run.init != 0 || run.job != 0 || run.exporter != 0) return;
    run.is_active = false;
    if (run.init_fd >= 0) close(run.init_fd);
    if (run.export_file >= 0) close(run.export_file);
    Send(run.finished);
  }

  void Send(const Reply& reply) {
    if (!SendMessage(kControlFd, &reply, sizeof(reply), nullptr, 0)) is_over_ = true;
  }

  const SlotSettings settings_;
  const ConfineTools tools_;
  int own_pid_namespace_ = -1;
  int signals_ = -1;
  int reports_[2] = {-1, -1};
  pid_t zygote_ = 0;
  int zygote_socket_ = -1;
  bool is_over_ = false;
  Run runs_[kRunsAtOnceMax];
};

}  // namespace

void ServeSlot(const SlotSettings& settings) { SlotServer(settings).Serve(); }

}  // namespace r1::rewards::code
