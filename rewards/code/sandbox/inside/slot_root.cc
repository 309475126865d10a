#include "rewards/code/sandbox/inside/slot_root.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <string>

#include "rewards/code/sandbox/inside/embedded_files.h"

namespace r1::rewards::code {
namespace {

// Folder on which the new root is assembled; every system has it.
constexpr char kStage[] = "/tmp";

std::string Staged(const std::string& path) { return kStage + path; }

// glibc has neither a wrapper nor the struct before 2.36.
struct MountAttributes {
  uint64_t set, clear, propagation, user_namespace;
};
constexpr uint64_t kReadOnly = 1, kNoSuid = 2, kNoDevices = 4;

Failure SetMountAttributes(const std::string& path, uint64_t attributes) {
  const MountAttributes change{
      .set = attributes, .clear = 0, .propagation = 0, .user_namespace = 0};
  constexpr unsigned kRecursive = 0x8000;  // AT_RECURSIVE
  if (syscall(__NR_mount_setattr, AT_FDCWD, path.c_str(), kRecursive, &change, sizeof(change)) !=
      0) {
    return FailedAt("make a mount read-only (mount_setattr, Linux 5.12)");
  }
  return {};
}

Failure MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0) return FailedAt("make a folder of the slot's root");
  return {};
}

Failure WriteFile(const std::string& path, const char* data, size_t bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return FailedAt("create a file of the slot's root");
  const bool is_written = write(file, data, bytes) == static_cast<ssize_t>(bytes);
  const Failure failure = is_written ? Failure{} : FailedAt("write a file of the slot's root");
  close(file);
  return failure;
}

Failure BindFolder(const char* path) {
  R1_RETURN_IF_FAILED(MakeFolder(Staged(path)));
  if (mount(path, Staged(path).c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return FailedAt("bind a system folder");
  }
  return SetMountAttributes(Staged(path), kReadOnly | kNoSuid | kNoDevices);
}

// /lib and its like: a link on merged-/usr systems, else a folder.
Failure CopyOrBind(const char* path) {
  struct stat found;
  if (lstat(path, &found) != 0) return {};
  if (S_ISDIR(found.st_mode)) return BindFolder(path);
  char target[256] = {};
  if (readlink(path, target, sizeof(target) - 1) <= 0 ||
      symlink(target, Staged(path).c_str()) != 0) {
    return FailedAt("copy a link of the host's root");
  }
  return {};
}

Failure MakeDevices() {
  R1_RETURN_IF_FAILED(MakeFolder(Staged("/dev")));
  for (const char* device :
       {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}) {
    R1_RETURN_IF_FAILED(WriteFile(Staged(device), "", 0));
    if (mount(device, Staged(device).c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return FailedAt("bind a device");
    }
  }
  if (symlink("/box/shm", Staged("/dev/shm").c_str()) != 0) return FailedAt("link /dev/shm");
  return {};
}

Failure MakeFiles() {
  const auto write_text = [](const char* path, const char* text) {
    return WriteFile(Staged(path), text, strlen(text));
  };
  R1_RETURN_IF_FAILED(MakeFolder(Staged("/etc")));
  R1_RETURN_IF_FAILED(write_text("/etc/passwd", "box:x:1000:1000:box:/box/w:/bin/sh\n"));
  R1_RETURN_IF_FAILED(write_text("/etc/group", "box:x:1000:\n"));
  R1_RETURN_IF_FAILED(CopyOrBind("/etc/alternatives"));
  for (const char* folder : {"/box", "/proc", "/r1"}) {
    R1_RETURN_IF_FAILED(MakeFolder(Staged(folder)));
  }
  R1_RETURN_IF_FAILED(
      WriteFile(Staged("/r1/zygote.so"), ZygoteLibrary().data, ZygoteLibrary().bytes));
  R1_RETURN_IF_FAILED(
      WriteFile(Staged("/r1/zygote.py"), ZygoteScript().data, ZygoteScript().bytes));
  R1_RETURN_IF_FAILED(
      WriteFile(Staged("/r1/remote.py"), RemoteScript().data, RemoteScript().bytes));
  if (symlink("box/tmp", Staged("/tmp").c_str()) != 0) return FailedAt("link /tmp");
  return {};
}

Failure RunAndWait(const char* const* arguments) {
  const pid_t child = vfork();
  if (child < 0) return FailedAt("start a compiler");
  if (child == 0) {
    const char* const environment[] = {"PATH=/usr/bin", "TMPDIR=/r1", nullptr};
    execve(arguments[0], const_cast<char* const*>(arguments),
           const_cast<char* const*>(environment));
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) {
    errno = ENOEXEC;
    return FailedAt("precompile <bits/stdc++.h> with /usr/bin/g++");
  }
  return {};
}

// g++ takes the file of this folder that fits the flags (GCC manual, Precompiled Headers).
Failure PrecompileHeader() {
  for (const char* folder : {"/r1/include", "/r1/include/bits", "/r1/include/bits/stdc++.h.gch"}) {
    R1_RETURN_IF_FAILED(MakeFolder(folder));
  }
  constexpr char kText[] = "#include_next <bits/stdc++.h>\n";
  R1_RETURN_IF_FAILED(WriteFile("/r1/include/bits/stdc++.h", kText, sizeof(kText) - 1));
  for (const char* standard : {"17", "20"}) {
    const std::string flag = std::string("-std=gnu++") + standard;
    const std::string output = std::string("/r1/include/bits/stdc++.h.gch/") + standard;
    const char* const arguments[] = {"/usr/bin/g++",
                                     flag.c_str(),
                                     "-O1",
                                     "-w",
                                     "-I/r1/include",
                                     "-x",
                                     "c++-header",
                                     "/r1/include/bits/stdc++.h",
                                     "-o",
                                     output.c_str(),
                                     nullptr};
    R1_RETURN_IF_FAILED(RunAndWait(arguments));
  }
  return {};
}

Failure PivotRoot() {
  if (chdir(kStage) != 0) return FailedAt("change to the new root");
  if (syscall(__NR_pivot_root, ".", ".") != 0) return FailedAt("pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return FailedAt("detach the host's root");
  if (chdir("/") != 0) return FailedAt("change to /");
  return {};
}

}  // namespace

Failure BuildSlotRoot(const SlotSettings& settings) {
  umask(022);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return FailedAt("make mounts private");
  }
  if (mount("r1", kStage, "tmpfs", MS_NOSUID, "mode=0755") != 0) return FailedAt("mount a tmpfs");
  R1_RETURN_IF_FAILED(BindFolder("/usr"));
  for (const char* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64"}) {
    R1_RETURN_IF_FAILED(CopyOrBind(path));
  }
  R1_RETURN_IF_FAILED(MakeDevices());
  R1_RETURN_IF_FAILED(MakeFiles());
  R1_RETURN_IF_FAILED(PivotRoot());
  if (settings.with_header != 0) R1_RETURN_IF_FAILED(PrecompileHeader());
  if (mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, nullptr) != 0) {
    return FailedAt("make the slot's root read-only");
  }
  return {};
}

Failure MountRunFiles(uint64_t bytes) {
  char options[96];
  snprintf(options, sizeof(options), "mode=0755,nr_inodes=4096,size=%llu",
           static_cast<unsigned long long>(bytes));
  if (mount("box", "/box", "tmpfs", MS_NOSUID | MS_NODEV, options) != 0) {
    return FailedAt("mount the run's tmpfs");
  }
  for (const char* folder : {"/box/w", "/box/tmp", "/box/shm"}) {
    if (mkdir(folder, 0755) != 0) return FailedAt("make a folder of the run");
  }
  return {};
}

}  // namespace r1::rewards::code
