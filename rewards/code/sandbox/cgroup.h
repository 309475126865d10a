// Control groups, versions 1 and 2: one group for each run, below a group of this process's own. A
// group bounds memory (without swap), processes and processor time of all that a job starts, and
// says afterwards what was used. Version 2 needs a delegated group (docs/code_sandbox.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "rewards/code/sandbox/layers.h"
#include "rewards/code/sandbox/owned_fd.h"

namespace r1::rewards::code {

// Where one controller's groups are.
struct CgroupHierarchy {
  std::string folder;       // of this process's group
  bool is_unified = false;  // version 2
  bool has_memory = false, has_pids = false, has_cpu = false, has_cpu_account = false;
};

// From the texts of /proc/self/cgroup and /proc/self/mountinfo. For version 2 the controllers are
// not in them and are left out.
std::vector<CgroupHierarchy> ParseCgroupHierarchies(absl::string_view cgroup,
                                                    absl::string_view mountinfo);

struct CgroupLimits {
  uint64_t memory_bytes = 0;
  uint32_t processes = 0;
};

// The group of one run. Moves; the destructor removes the group, whose processes must be dead.
class RunCgroup {
 public:
  RunCgroup() = default;
  RunCgroup(RunCgroup&&) noexcept = default;
  RunCgroup& operator=(RunCgroup&& other) noexcept;
  ~RunCgroup();

  // Open cgroup.procs files; a process that writes "0" to all is in the group.
  std::vector<int> procs() const;
  // Negative: not known, the layer is off.
  double CpuSeconds() const;
  int64_t MemoryBytesMax() const;
  bool HitMemoryLimit() const;
  bool HitProcessLimit() const;

 private:
  friend class CgroupTree;
  struct Part {
    CgroupHierarchy hierarchy;  // `folder` is the run's own
    OwnedFd procs;
  };
  void Remove();
  std::vector<Part> parts_;
};

// Thread-safe after Create. The destructor removes the process's group.
class CgroupTree {
 public:
  // Never fails: what is missing is not in layers(), and problem() says why.
  static std::unique_ptr<CgroupTree> Create();
  // The same below given hierarchies; for tests.
  static std::unique_ptr<CgroupTree> CreateIn(std::vector<CgroupHierarchy> hierarchies);
  ~CgroupTree();

  LayerSet layers() const { return layers_; }
  const std::string& problem() const { return problem_; }
  // A group with those of its layers that are in `layers`. Unavailable when it cannot be made.
  [[nodiscard]] absl::StatusOr<RunCgroup> NewRun(const CgroupLimits& limits, LayerSet layers);

 private:
  CgroupTree() = default;
  LayerSet layers_ = 0;
  std::string problem_;
  std::vector<CgroupHierarchy> hierarchies_;  // `folder` is the process's own new group
};

}  // namespace r1::rewards::code
