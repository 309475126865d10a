#include "rewards/code/sandbox/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/filesystem.h"
#include "common/log.h"

namespace r1::rewards::code {
namespace {

constexpr char kOwnPrefix[] = "r1-sandbox-";
constexpr uint64_t kFileBytesMax = 1 << 16;

absl::Status WriteGroupFile(const std::string& folder, const char* name, const std::string& value) {
  const std::string path = JoinPath(folder, name);
  const OwnedFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.is_open() &&
      write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size())) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("write ", value, " to ", path, ": ", strerror(errno)));
}

std::string ReadGroupFile(const std::string& folder, const char* name) {
  const OwnedFd file(open(JoinPath(folder, name).c_str(), O_RDONLY | O_CLOEXEC));
  char text[4096];
  const ssize_t bytes = file.is_open() ? read(file.get(), text, sizeof(text)) : 0;
  return bytes > 0 ? std::string(text, static_cast<size_t>(bytes)) : "";
}

// The number after `key` in a file of "key number" lines; the file's only number for an empty key.
int64_t ReadNumber(const std::string& folder, const char* name, absl::string_view key) {
  const std::string text = ReadGroupFile(folder, name);
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!key.empty() && !absl::ConsumePrefix(&line, absl::StrCat(key, " "))) continue;
    int64_t number = 0;
    return absl::SimpleAtoi(line, &number) ? number : -1;
  }
  return -1;
}

bool HasGroupFile(const std::string& folder, const char* name) {
  return access(JoinPath(folder, name).c_str(), W_OK) == 0;
}

bool HasWord(absl::string_view text, absl::string_view word, absl::string_view separators) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, absl::ByAnyChar(separators));
  return std::find(words.begin(), words.end(), word) != words.end();
}

void KillAll(const std::string& folder) {
  const std::string pids = ReadGroupFile(folder, "cgroup.procs");
  for (const absl::string_view line : absl::StrSplit(pids, '\n', absl::SkipEmpty())) {
    int pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 0) kill(pid, SIGKILL);
  }
}

// Groups of processes that were killed before they could clean up.
void RemoveStaleGroups(const std::string& folder) {
  const auto names = RealFileSystem().List(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    absl::string_view rest = name;
    int pid = 0;
    if (!absl::ConsumePrefix(&rest, kOwnPrefix) ||
        !absl::SimpleAtoi(rest.substr(0, rest.find('-')), &pid) || kill(pid, 0) == 0 ||
        errno != ESRCH) {
      continue;
    }
    const std::string stale = JoinPath(folder, name);
    const auto runs = RealFileSystem().List(stale);
    for (const std::string& run : runs.ok() ? *runs : std::vector<std::string>{}) {
      if (absl::StartsWith(run, "run-")) (void)rmdir(JoinPath(stale, run).c_str());
    }
    (void)rmdir(stale.c_str());
  }
}

// In version 2 a group hands controllers on only while it has no processes itself, so a process
// that is alone in its group moves into a leaf. The root is exempt from this rule.
absl::Status DelegateControllers(const std::string& folder) {
  const std::string wanted = "+memory +pids +cpu";
  const std::string current = ReadGroupFile(folder, "cgroup.subtree_control");
  if (HasWord(current, "memory", " \n") && HasWord(current, "pids", " \n")) {
    return absl::OkStatus();
  }
  if (WriteGroupFile(folder, "cgroup.subtree_control", wanted).ok()) return absl::OkStatus();
  const std::string own = absl::StrCat(getpid());
  if (absl::StripSuffix(ReadGroupFile(folder, "cgroup.procs"), "\n") != own) {
    return absl::UnavailableError(absl::StrCat(
        folder, " holds other processes as well, so its controllers cannot be delegated"));
  }
  const std::string leaf = JoinPath(folder, "r1-main");
  if (mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat("mkdir ", leaf, ": ", strerror(errno)));
  }
  R1_RETURN_IF_ERROR(WriteGroupFile(leaf, "cgroup.procs", own));
  return WriteGroupFile(folder, "cgroup.subtree_control", wanted);
}

// The kernel patches its scheduler when the first group with a quota comes and when the last one
// goes. A quota that allows everything, on the group above the runs, keeps that from happening
// twice a run, which would cost a tenth of a verdict's processor time.
void KeepQuotasOn(const CgroupHierarchy& group) {
  if (!group.has_cpu) return;
  const std::string everything =
      absl::StrCat(100000 * std::max(1u, std::thread::hardware_concurrency()));
  const absl::Status status = group.is_unified
                                  ? WriteGroupFile(group.folder, "cpu.max", everything + " 100000")
                                  : WriteGroupFile(group.folder, "cpu.cfs_quota_us", everything);
  if (!status.ok()) R1_LOG(kWarning) << status.message();
}

absl::Status LimitGroup(const CgroupHierarchy& group, const CgroupLimits& limits) {
  const std::string& folder = group.folder;
  const std::string memory = absl::StrCat(limits.memory_bytes);
  if (group.has_memory && group.is_unified) {
    R1_RETURN_IF_ERROR(WriteGroupFile(folder, "memory.max", memory));
    if (HasGroupFile(folder, "memory.swap.max")) {
      R1_RETURN_IF_ERROR(WriteGroupFile(folder, "memory.swap.max", "0"));
    }
    R1_RETURN_IF_ERROR(WriteGroupFile(folder, "memory.oom.group", "1"));
  } else if (group.has_memory) {
    R1_RETURN_IF_ERROR(WriteGroupFile(folder, "memory.limit_in_bytes", memory));
    // Memory and swap together; without swap accounting, no page is worth swapping out.
    if (HasGroupFile(folder, "memory.memsw.limit_in_bytes")) {
      R1_RETURN_IF_ERROR(WriteGroupFile(folder, "memory.memsw.limit_in_bytes", memory));
    } else {
      R1_RETURN_IF_ERROR(WriteGroupFile(folder, "memory.swappiness", "0"));
    }
  }
  if (group.has_pids) {
    R1_RETURN_IF_ERROR(WriteGroupFile(folder, "pids.max", absl::StrCat(limits.processes)));
  }
  // One processor for the whole job.
  if (group.has_cpu && group.is_unified) {
    R1_RETURN_IF_ERROR(WriteGroupFile(folder, "cpu.max", "100000 100000"));
  } else if (group.has_cpu) {
    R1_RETURN_IF_ERROR(WriteGroupFile(folder, "cpu.cfs_quota_us", "100000"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<CgroupHierarchy> ParseCgroupHierarchies(absl::string_view cgroup,
                                                    absl::string_view mountinfo) {
  std::vector<CgroupHierarchy> hierarchies;
  for (const absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    // 31 23 0:28 ROOT MOUNT options… - TYPE source super-options
    const std::pair<absl::string_view, absl::string_view> halves =
        absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    const std::vector<absl::string_view> left = absl::StrSplit(halves.first, ' ');
    const std::vector<absl::string_view> right = absl::StrSplit(halves.second, ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const bool is_unified = right[0] == "cgroup2";
    if (!is_unified && right[0] != "cgroup") continue;
    const auto controls = [&](absl::string_view name) {
      return !is_unified && HasWord(right[2], name, ",");
    };
    CgroupHierarchy found{.folder = "",
                          .is_unified = is_unified,
                          .has_memory = controls("memory"),
                          .has_pids = controls("pids"),
                          .has_cpu = controls("cpu"),
                          .has_cpu_account = controls("cpuacct")};
    const bool is_useful =
        found.has_memory || found.has_pids || found.has_cpu || found.has_cpu_account;
    if (!is_unified && !is_useful) continue;
    for (const absl::string_view membership : absl::StrSplit(cgroup, '\n')) {
      const std::vector<absl::string_view> fields =
          absl::StrSplit(membership, absl::MaxSplits(':', 2));
      if (fields.size() != 3) continue;
      const bool is_same = is_unified ? fields[0] == "0" : fields[0] != "0" && [&] {
        for (absl::string_view name : absl::StrSplit(fields[1], ',')) {
          if (!name.empty() && HasWord(right[2], name, ",")) {
            return true;
          }
        }
        return false;
      }();
      if (!is_same) continue;
      absl::string_view path = fields[2];
      // The mount may show only the part below its root, as in a container.
      if (left[3] != "/" && absl::StartsWith(path, left[3])) path.remove_prefix(left[3].size());
      found.folder = std::string(absl::StripSuffix(absl::StrCat(left[4], path), "/"));
      hierarchies.push_back(found);
      break;
    }
  }
  return hierarchies;
}

RunCgroup& RunCgroup::operator=(RunCgroup&& other) noexcept {
  Remove();
  parts_ = std::move(other.parts_);
  other.parts_.clear();
  return *this;
}

RunCgroup::~RunCgroup() { Remove(); }

// The processes died with their pid namespace, but the kernel may need a moment to let go of them.
// Should one have got away, this is the second net.
void RunCgroup::Remove() {
  for (Part& part : parts_) {
    part.procs.Close();
    for (int tries = 0; rmdir(part.hierarchy.folder.c_str()) != 0 && errno == EBUSY; ++tries) {
      if (tries >= 10) KillAll(part.hierarchy.folder);
      if (tries == 200) {
        R1_LOG(kError) << "cannot remove " << part.hierarchy.folder;
        break;
      }
      poll(nullptr, 0, 1);
    }
  }
  parts_.clear();
}

std::vector<int> RunCgroup::procs() const {
  std::vector<int> fds;
  for (const Part& part : parts_) fds.push_back(part.procs.get());
  return fds;
}

double RunCgroup::CpuSeconds() const {
  for (const Part& part : parts_) {
    if (part.hierarchy.is_unified && part.hierarchy.has_cpu_account) {
      return 1e-6 *
             static_cast<double>(ReadNumber(part.hierarchy.folder, "cpu.stat", "usage_usec"));
    }
    if (part.hierarchy.has_cpu_account) {
      return 1e-9 * static_cast<double>(ReadNumber(part.hierarchy.folder, "cpuacct.usage", ""));
    }
  }
  return -1;
}

int64_t RunCgroup::MemoryBytesMax() const {
  for (const Part& part : parts_) {
    if (!part.hierarchy.has_memory) continue;
    return part.hierarchy.is_unified
               ? ReadNumber(part.hierarchy.folder, "memory.peak", "")
               : ReadNumber(part.hierarchy.folder, "memory.max_usage_in_bytes", "");
  }
  return -1;
}

bool RunCgroup::HitMemoryLimit() const {
  for (const Part& part : parts_) {
    if (!part.hierarchy.has_memory) continue;
    const char* const name = part.hierarchy.is_unified ? "memory.events" : "memory.oom_control";
    return ReadNumber(part.hierarchy.folder, name, "oom_kill") > 0;
  }
  return false;
}

bool RunCgroup::HitProcessLimit() const {
  for (const Part& part : parts_) {
    if (part.hierarchy.has_pids) {
      return ReadNumber(part.hierarchy.folder, "pids.events", "max") > 0;
    }
  }
  return false;
}

std::unique_ptr<CgroupTree> CgroupTree::Create() {
  FileSystem& files = RealFileSystem();
  const auto cgroup = files.Read("/proc/self/cgroup", kFileBytesMax);
  const auto mountinfo = files.Read("/proc/self/mountinfo", 1 << 20);
  std::vector<CgroupHierarchy> hierarchies;
  if (cgroup.ok() && mountinfo.ok()) hierarchies = ParseCgroupHierarchies(*cgroup, *mountinfo);
  return CreateIn(std::move(hierarchies));
}

std::unique_ptr<CgroupTree> CgroupTree::CreateIn(std::vector<CgroupHierarchy> hierarchies) {
  static std::atomic<int> count{0};
  const std::string own = absl::StrCat(kOwnPrefix, getpid(), "-", count.fetch_add(1));
  auto tree = std::unique_ptr<CgroupTree>(new CgroupTree);
  std::vector<std::string> problems;
  for (CgroupHierarchy& hierarchy : hierarchies) {
    if (hierarchy.is_unified) {
      const std::string controllers = ReadGroupFile(hierarchy.folder, "cgroup.controllers");
      hierarchy.has_memory = HasWord(controllers, "memory", " \n");
      hierarchy.has_pids = HasWord(controllers, "pids", " \n");
      hierarchy.has_cpu = HasWord(controllers, "cpu", " \n");
      hierarchy.has_cpu_account = hierarchy.has_cpu;
      if (!hierarchy.has_memory && !hierarchy.has_pids && !hierarchy.has_cpu) continue;
      const absl::Status delegated = DelegateControllers(hierarchy.folder);
      if (!delegated.ok()) {
        problems.emplace_back(delegated.message());
        continue;
      }
    }
    RemoveStaleGroups(hierarchy.folder);
    const std::string folder = JoinPath(hierarchy.folder, own);
    if (mkdir(folder.c_str(), 0755) != 0) {
      problems.push_back(absl::StrCat("mkdir ", folder, ": ", strerror(errno)));
      continue;
    }
    hierarchy.folder = folder;
    if (hierarchy.is_unified) {
      const absl::Status delegated =
          WriteGroupFile(folder, "cgroup.subtree_control", "+memory +pids +cpu");
      if (!delegated.ok()) problems.emplace_back(delegated.message());
    }
    KeepQuotasOn(hierarchy);
    tree->hierarchies_.push_back(hierarchy);
  }
  bool has_quota = false, has_account = false;
  for (const CgroupHierarchy& hierarchy : tree->hierarchies_) {
    if (hierarchy.has_memory) tree->layers_ |= SetOf(Layer::kCgroupMemory);
    if (hierarchy.has_pids) tree->layers_ |= SetOf(Layer::kCgroupPids);
    has_quota = has_quota || hierarchy.has_cpu;
    has_account = has_account || hierarchy.has_cpu_account;
  }
  if (has_quota && has_account) tree->layers_ |= SetOf(Layer::kCgroupCpu);
  if (tree->layers_ != kCgroupLayers) {
    if (problems.empty()) problems.push_back("no controllers are mounted in /sys/fs/cgroup");
    tree->problem_ = absl::StrJoin(problems, "; ");
  }
  return tree;
}

CgroupTree::~CgroupTree() {
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    if (rmdir(hierarchy.folder.c_str()) != 0) {
      R1_LOG(kError) << "cannot remove " << hierarchy.folder << ": " << strerror(errno);
    }
  }
}

absl::StatusOr<RunCgroup> CgroupTree::NewRun(const CgroupLimits& limits, LayerSet layers) {
  static std::atomic<uint64_t> count{0};
  const std::string name = absl::StrCat("run-", count.fetch_add(1));
  RunCgroup run;
  for (const CgroupHierarchy& hierarchy : hierarchies_) {
    RunCgroup::Part part{.hierarchy = hierarchy, .procs = {}};
    CgroupHierarchy& group = part.hierarchy;
    group.has_memory &= Contains(layers, Layer::kCgroupMemory);
    group.has_pids &= Contains(layers, Layer::kCgroupPids);
    group.has_cpu &= Contains(layers, Layer::kCgroupCpu);
    group.has_cpu_account &= Contains(layers, Layer::kCgroupCpu);
    if (!group.has_memory && !group.has_pids && !group.has_cpu && !group.has_cpu_account) continue;
    group.folder = JoinPath(hierarchy.folder, name);
    if (mkdir(group.folder.c_str(), 0755) != 0) {
      return absl::UnavailableError(absl::StrCat("mkdir ", group.folder, ": ", strerror(errno)));
    }
    const std::string procs = JoinPath(group.folder, "cgroup.procs");
    part.procs = OwnedFd(open(procs.c_str(), O_WRONLY | O_CLOEXEC));
    const bool is_open = part.procs.is_open();
    run.parts_.push_back(std::move(part));
    if (!is_open) {
      return absl::UnavailableError(absl::StrCat("open ", procs, ": ", strerror(errno)));
    }
    R1_RETURN_IF_ERROR(LimitGroup(run.parts_.back().hierarchy, limits));
  }
  return run;
}

}  // namespace r1::rewards::code
