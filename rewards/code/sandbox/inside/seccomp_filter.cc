#include "rewards/code/sandbox/inside/seccomp_filter.h"

#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace r1::rewards::code {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the sandbox knows the system calls of x86-64 and of 64-bit ARM"
#endif

// Numbers that only some architectures have are guarded; the others are in all kernel headers that
// the project builds with (Debian 12: 6.1).
constexpr int kAllowed[] = {
#ifdef __NR_open  // x86-64 has the calls without "at" as well
    __NR_open, __NR_stat, __NR_lstat, __NR_access, __NR_pipe, __NR_select, __NR_dup2, __NR_alarm,
    __NR_fork, __NR_vfork, __NR_rename, __NR_mkdir, __NR_rmdir, __NR_creat, __NR_link, __NR_unlink,
    __NR_symlink, __NR_readlink, __NR_chmod, __NR_chown, __NR_lchown, __NR_getpgrp, __NR_utime,
    __NR_mknod, __NR_arch_prctl, __NR_time, __NR_epoll_create, __NR_getdents, __NR_utimes,
    __NR_poll, __NR_epoll_wait, __NR_pause, __NR_eventfd, __NR_futimesat, __NR_signalfd,
#endif
    // Files
    __NR_read, __NR_write, __NR_openat, __NR_close, __NR_close_range, __NR_fstat, __NR_newfstatat,
    __NR_statx, __NR_lseek, __NR_pread64, __NR_pwrite64, __NR_readv, __NR_writev, __NR_preadv,
    __NR_pwritev, __NR_preadv2, __NR_pwritev2, __NR_faccessat, __NR_faccessat2, __NR_dup, __NR_dup3,
    __NR_pipe2, __NR_fcntl, __NR_ioctl, __NR_flock, __NR_fsync, __NR_fdatasync, __NR_truncate,
    __NR_ftruncate, __NR_fallocate, __NR_getdents64, __NR_getcwd, __NR_chdir, __NR_fchdir,
    __NR_renameat, __NR_renameat2, __NR_mkdirat, __NR_linkat, __NR_unlinkat, __NR_symlinkat,
    __NR_readlinkat, __NR_fchmod, __NR_fchmodat, __NR_fchown, __NR_fchownat, __NR_umask,
    __NR_utimensat, __NR_mknodat, __NR_statfs, __NR_fstatfs, __NR_sendfile, __NR_copy_file_range,
    __NR_splice, __NR_tee, __NR_fadvise64, __NR_readahead, __NR_sync, __NR_syncfs,
    __NR_sync_file_range,
    // Waiting
    __NR_pselect6, __NR_ppoll, __NR_epoll_create1, __NR_epoll_ctl, __NR_epoll_pwait,
    __NR_epoll_pwait2, __NR_eventfd2, __NR_signalfd4, __NR_timerfd_create, __NR_timerfd_settime,
    __NR_timerfd_gettime, __NR_nanosleep, __NR_clock_nanosleep, __NR_sched_yield,
    // Memory
    __NR_mmap, __NR_mprotect, __NR_munmap, __NR_brk, __NR_mremap, __NR_madvise, __NR_mincore,
    __NR_msync, __NR_mlock, __NR_munlock, __NR_mlockall, __NR_munlockall, __NR_membarrier,
    // Processes, threads, signals. clone is looked at more closely.
    __NR_execve, __NR_execveat, __NR_exit, __NR_exit_group, __NR_wait4, __NR_waitid, __NR_kill,
    __NR_tkill, __NR_tgkill, __NR_futex, __NR_futex_waitv, __NR_set_robust_list,
    __NR_get_robust_list, __NR_set_tid_address, __NR_rseq, __NR_rt_sigaction, __NR_rt_sigprocmask,
    __NR_rt_sigreturn, __NR_rt_sigpending, __NR_rt_sigtimedwait, __NR_rt_sigqueueinfo,
    __NR_rt_tgsigqueueinfo, __NR_rt_sigsuspend, __NR_sigaltstack, __NR_restart_syscall,
    __NR_pidfd_open, __NR_pidfd_send_signal, __NR_prctl, __NR_getrlimit, __NR_setrlimit,
    __NR_prlimit64, __NR_getrusage, __NR_times, __NR_getpriority, __NR_setpriority,
    __NR_sched_getaffinity, __NR_sched_setaffinity, __NR_sched_getparam, __NR_sched_setparam,
    __NR_sched_getscheduler, __NR_sched_setscheduler, __NR_sched_get_priority_max,
    __NR_sched_get_priority_min, __NR_sched_getattr, __NR_getcpu, __NR_setpgid, __NR_getpgid,
    __NR_getsid, __NR_setsid,
    // Who and when
    __NR_getpid, __NR_getppid, __NR_gettid, __NR_getuid, __NR_geteuid, __NR_getgid, __NR_getegid,
    __NR_getresuid, __NR_getresgid, __NR_getgroups, __NR_capget, __NR_uname, __NR_sysinfo,
    __NR_gettimeofday, __NR_clock_gettime, __NR_clock_getres, __NR_getitimer, __NR_setitimer,
    __NR_timer_create, __NR_timer_settime, __NR_timer_gettime, __NR_timer_getoverrun,
    __NR_timer_delete, __NR_getrandom,
    // Between the processes of a job. socket and socketpair are looked at more closely.
    __NR_bind, __NR_listen, __NR_accept, __NR_accept4, __NR_connect, __NR_getsockname,
    __NR_getpeername, __NR_sendto, __NR_recvfrom, __NR_sendmsg, __NR_recvmsg, __NR_sendmmsg,
    __NR_recvmmsg, __NR_shutdown, __NR_setsockopt, __NR_getsockopt, __NR_shmget, __NR_shmat,
    __NR_shmdt, __NR_shmctl, __NR_semget, __NR_semop, __NR_semtimedop, __NR_semctl, __NR_msgget,
    __NR_msgsnd, __NR_msgrcv, __NR_msgctl};

constexpr int kDeadly[] = {
#ifdef __NR_iopl
    __NR_iopl,
    __NR_ioperm,
    __NR_kexec_file_load,
#endif
    __NR_ptrace,
    __NR_process_vm_readv,
    __NR_process_vm_writev,
    __NR_kcmp,
    __NR_pidfd_getfd,
    __NR_mount,
    __NR_umount2,
    __NR_pivot_root,
    __NR_chroot,
    __NR_unshare,
    __NR_setns,
    __NR_open_tree,
    __NR_move_mount,
    __NR_fsopen,
    __NR_fsconfig,
    __NR_fsmount,
    __NR_fspick,
    __NR_mount_setattr,
    __NR_bpf,
    __NR_perf_event_open,
    __NR_io_uring_setup,
    __NR_io_uring_enter,
    __NR_io_uring_register,
    __NR_userfaultfd,
    __NR_add_key,
    __NR_request_key,
    __NR_keyctl,
    __NR_init_module,
    __NR_finit_module,
    __NR_delete_module,
    __NR_kexec_load,
    __NR_reboot,
    __NR_swapon,
    __NR_swapoff,
    __NR_syslog,
    __NR_acct,
    __NR_quotactl,
    __NR_sethostname,
    __NR_setdomainname,
    __NR_settimeofday,
    __NR_clock_settime,
    __NR_open_by_handle_at,
    __NR_name_to_handle_at,
    __NR_fanotify_init,
    __NR_vhangup};

// New namespaces; and CLONE_PARENT, which would make a child of the slot's own server.
constexpr uint32_t kCloneFlagsDeadly = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                       CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PARENT;

constexpr sock_filter Load(uint32_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
constexpr sock_filter Return(uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }
constexpr sock_filter Jump(uint16_t condition, uint32_t value, uint8_t if_true, uint8_t if_false) {
  return BPF_JUMP(static_cast<uint16_t>(BPF_JMP | condition | BPF_K), value, if_true, if_false);
}
// Little-endian: the low half of an argument comes first.
constexpr uint32_t kFirstArgument = offsetof(seccomp_data, args);

constexpr uint32_t kOtherwise = SECCOMP_RET_ERRNO | ENOSYS;
constexpr uint32_t kActions[] = {SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, kOtherwise};

// Calls begin, begin + 1, … share the action.
struct Range {
  uint32_t begin;
  uint32_t action;
};

std::vector<Range> Ranges() {
  std::vector<std::pair<uint32_t, uint32_t>> actions;
  for (const int number : kAllowed) {
    actions.emplace_back(static_cast<uint32_t>(number), SECCOMP_RET_ALLOW);
  }
  for (const int number : kDeadly) {
    actions.emplace_back(static_cast<uint32_t>(number), SECCOMP_RET_KILL_PROCESS);
  }
  std::sort(actions.begin(), actions.end());
  std::vector<Range> ranges{{0, kOtherwise}};
  const auto begin_range = [&ranges](uint32_t begin, uint32_t action) {
    if (ranges.back().begin == begin) ranges.pop_back();
    if (ranges.empty() || ranges.back().action != action) ranges.push_back({begin, action});
  };
  for (const auto& [number, action] : actions) {
    begin_range(number, action);
    begin_range(number + 1, kOtherwise);
  }
  return ranges;
}

// A binary search over the ranges, one comparison a node, that ends in one of the three returns
// they share; a call passes about seven of them. Short, because the kernel compiles the filter anew
// for every job. It is written from its end, where the returns are, as jumps only lead forward.
class Search {
 public:
  explicit Search(const std::vector<Range>& ranges) {
    for (const uint32_t action : kActions) reversed_.push_back(Return(action));
    Compare(ranges, 0, ranges.size());
  }
  void AppendTo(std::vector<sock_filter>& filter) const {
    filter.insert(filter.end(), reversed_.rbegin(), reversed_.rend());
  }

 private:
  // Where the decision over ranges [begin, end) starts in `reversed_`.
  size_t Compare(const std::vector<Range>& ranges, size_t begin, size_t end) {
    if (end - begin == 1) {
      return static_cast<size_t>(
          std::find(std::begin(kActions), std::end(kActions), ranges[begin].action) -
          std::begin(kActions));
    }
    const size_t middle = begin + (end - begin) / 2;
    const size_t high = Compare(ranges, middle, end);
    const size_t low = Compare(ranges, begin, middle);
    const size_t here = reversed_.size();
    reversed_.push_back(
        Jump(BPF_JGE, ranges[middle].begin, Distance(here, high), Distance(here, low)));
    return here;
  }

  // Instructions between, which a jump says in a byte.
  static uint8_t Distance(size_t from, size_t to) {
    if (from - to - 1 > UINT8_MAX) abort();  // more ranges than one search can hold
    return static_cast<uint8_t>(from - to - 1);
  }

  std::vector<sock_filter> reversed_;
};

}  // namespace

std::vector<sock_filter> MakeSeccompFilter() {
  std::vector<sock_filter> filter = {
      Load(offsetof(seccomp_data, arch)),
      Jump(BPF_JEQ, kArchitecture, 1, 0),
      Return(SECCOMP_RET_KILL_PROCESS),
      Load(offsetof(seccomp_data, nr)),
#ifdef __x86_64__
      // The x32 interface has numbers of its own.
      Jump(BPF_JGE, 0x40000000, 0, 1),
      Return(SECCOMP_RET_KILL_PROCESS),
#endif
      Jump(BPF_JEQ, __NR_clone, 0, 4),
      Load(kFirstArgument),
      Jump(BPF_JSET, kCloneFlagsDeadly, 0, 1),
      Return(SECCOMP_RET_KILL_PROCESS),
      Return(SECCOMP_RET_ALLOW),
      Jump(BPF_JEQ, __NR_socketpair, 1, 0),
      Jump(BPF_JEQ, __NR_socket, 0, 4),
      Load(kFirstArgument),
      Jump(BPF_JEQ, AF_UNIX, 0, 1),
      Return(SECCOMP_RET_ALLOW),
      Return(SECCOMP_RET_ERRNO | EACCES),
  };
  Search(Ranges()).AppendTo(filter);
  return filter;
}

Failure InstallSeccompFilter(const std::vector<sock_filter>& filter) {
  const sock_fprog program{.len = static_cast<uint16_t>(filter.size()),
                           .filter = const_cast<sock_filter*>(filter.data())};
  if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    return FailedAt("install the seccomp filter");
  }
  return {};
}

}  // namespace r1::rewards::code
