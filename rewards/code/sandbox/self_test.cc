#include "rewards/code/sandbox/self_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "rewards/code/sandbox/job.h"

namespace r1::rewards::code {
namespace {

// Each probe prints a line when it gets through. What the grader prepared is in `host`.
constexpr char kProbes[] = R"(
import ctypes, fcntl, json, os, resource, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
host = json.loads(sys.stdin.readline())

def report(layer, what):
    print(layer + ": " + what, flush=True)

def end_of(action):
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def can(action):
    try:
        return bool(action())
    except OSError:
        return False

if os.stat("/usr").st_uid == 0:
    report("user_namespace", "files of the host's root are seen as root's")
try:
    os.kill(host["pid"], 0)
    report("pid_namespace", "the grader can be signalled")
except OSError as error:
    if error.errno != 3:
        report("pid_namespace", "the grader's process is visible")
for path in (host["canary"], "/etc/shadow", "/proc/1"):
    if can(lambda: os.stat(path)):
        report("mount_namespace", path + " is visible")
for path in ("/usr/r1-probe", "/r1-probe", "/dev/r1-probe", "/etc/r1-probe"):
    if can(lambda: os.open(path, os.O_CREAT | os.O_WRONLY)):
        report("mount_namespace", path + " can be written")
local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
request = struct.pack("16s24x", b"lo")
if can(lambda: struct.unpack("16sh", fcntl.ioctl(local, 0x8913, request)[:18])[1] & 1):
    report("network_namespace", "the host's loopback device is visible and up")
if libc.shmget(host["shm_key"], 1, 0) >= 0:
    report("ipc_namespace", "the grader's shared memory is visible")
if os.uname().nodename != "box":
    report("uts_namespace", "the host's name is visible")
leaked = set(os.environ) - {"PATH", "HOME", "LANG", "LC_CTYPE"}
if leaked:
    report("environment", "the grader's variables are visible: " + sorted(leaked)[0])
sets = (ctypes.c_uint32 * 6)()
libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets)
if any(sets):
    report("capabilities", "some are left")
if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
    report("resource_limits", "core dumps are possible")
if os.WTERMSIG(end_of(lambda: libc.ptrace(0, 0, 0, 0))) != signal.SIGSYS:
    report("seccomp", "ptrace is allowed")
if can(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)):
    report("seccomp", "internet sockets are allowed")
folder = "/box/w" if os.path.isdir("/box/w") else None
if folder is not None:
    program = folder + "/probe"
    with open(program, "wb") as file:
        file.write(open("/usr/bin/true", "rb").read())
    os.chmod(program, 0o755)
    if end_of(lambda: os.execv(program, ["probe"])) == 0:
        report("landlock", "a file that the job wrote can be executed")
)";

// More processes than the limit, less than the per-user backstop.
constexpr char kForks[] = R"(
import os, time
count = 0
try:
    for i in range(16):
        if os.fork() == 0:
            time.sleep(10)
            os._exit(0)
        count += 1
    print("cgroup_pids: 16 processes where 8 are allowed")
except OSError:
    pass
)";

// Three processes of 48 MiB each, where all together may have 64 MiB.
constexpr char kMemory[] = R"(
import os, time
pids = []
for i in range(3):
    pid = os.fork()
    if pid == 0:
        block = bytearray(48 << 20)
        time.sleep(0.3)
        os._exit(0)
    pids.append(pid)
if all(os.waitpid(pid, 0)[1] == 0 for pid in pids):
    print("cgroup_memory: 144 MiB where 64 MiB are allowed")
)";

// Four processes of 0.15 s each, where all together may use 0.3 s. They are not waited for, so that
// their time is in nobody's account but the control group's.
constexpr char kProcessor[] = R"(
import os, time
done, tell = os.pipe()
for i in range(4):
    if os.fork() == 0:
        while time.process_time() < 0.15:
            pass
        os.write(tell, b"d")
        time.sleep(10)
        os._exit(0)
for i in range(4):
    os.read(done, 1)
)";

Job MakeJob(Program program, absl::string_view text) {
  Job job;
  job.program = program;
  job.limits.cpu_seconds = 20;
  job.limits.wall_seconds = 60;
  job.limits.processes = 8;
  if (program == Program::kPython) {
    job.text = absl::StrCat("{\"do\":\"script\"}\n", text);
  } else {
    job.arguments = {
        "/usr/bin/python3", "-s", "-S", "-B", "-c", "import os;exec(os.fdopen(3).read())"};
    job.text = std::string(text);
  }
  return job;
}

// What the probes look for on the host.
struct Canaries {
  std::string file;
  key_t shm_key = 0;
  int shm = -1;

  ~Canaries() {
    if (!file.empty()) unlink(file.c_str());
    if (shm >= 0) shmctl(shm, IPC_RMID, nullptr);
  }
};

absl::Status Prepare(Canaries& canaries) {
  char path[] = "/var/tmp/r1-canary-XXXXXX";
  const OwnedFd file(mkstemp(path));
  if (!file.is_open()) {
    return absl::UnavailableError(absl::StrCat("make a canary in /var/tmp: ", strerror(errno)));
  }
  canaries.file = path;
  if (fchmod(file.get(), 0644) != 0) return absl::UnavailableError("chmod of the canary");
  // Without System V shared memory on the host there is nothing to leak.
  for (int i = 0; i < 16 && canaries.shm < 0; ++i) {
    canaries.shm_key = static_cast<key_t>(0x72310000 + (getpid() & 0xFFF) * 16 + i);
    canaries.shm = shmget(canaries.shm_key, 1, IPC_CREAT | IPC_EXCL | 0666);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindLeaks(Slot& slot, CgroupTree& cgroups, LayerSet layers,
                                                   Program program) {
  Canaries canaries;
  R1_RETURN_IF_ERROR(Prepare(canaries));
  const auto run = [&](const Job& job) -> absl::StatusOr<JobResult> {
    R1_ASSIGN_OR_RETURN(std::vector<JobResult> results, RunJobs(slot, cgroups, {job}, layers));
    return std::move(results[0]);
  };
  Job probes = MakeJob(program, kProbes);
  probes.input = absl::StrCat("{\"pid\":", getpid(), ",\"canary\":\"", canaries.file,
                              "\",\"shm_key\":", canaries.shm_key, "}\n");
  R1_ASSIGN_OR_RETURN(const JobResult probed, run(probes));
  if (probed.wait_status != 0) {
    return absl::UnavailableError(absl::StrCat("the sandbox's self-test ended with status ",
                                               probed.wait_status, ": ", probed.error_output));
  }
  std::string lines = probed.output;
  R1_ASSIGN_OR_RETURN(const JobResult forked, run(MakeJob(program, kForks)));
  lines += forked.output;
  Job memory = MakeJob(program, kMemory);
  memory.limits.memory_bytes = 64 << 20;
  R1_ASSIGN_OR_RETURN(const JobResult filled, run(memory));
  if (!filled.passed_memory_limit) lines += filled.output;
  // The sum over a tree is a group's to know; RLIMIT_CPU counts a process at a time.
  if (Contains(layers, Layer::kMemoryRlimit)) return absl::StrSplit(lines, '\n', absl::SkipEmpty());
  Job processor = MakeJob(program, kProcessor);
  processor.limits.cpu_seconds = 0.3;
  R1_ASSIGN_OR_RETURN(const JobResult burned, run(processor));
  if (!burned.passed_cpu_limit) {
    lines += "cgroup_cpu: 0.6 s of processor time where 0.3 s are allowed\n";
  }
  return absl::StrSplit(lines, '\n', absl::SkipEmpty());
}

}  // namespace r1::rewards::code
