#include "rewards/code/sandbox/pool.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "rewards/code/sandbox/inside/landlock.h"
#include "rewards/code/sandbox/self_test.h"

namespace r1::rewards::code {
namespace {

// A slot with the precompiled headers holds about 200 MB of memory.
constexpr int kCompilersMax = 4;
constexpr absl::Duration kWaitMax = absl::Minutes(10);

struct Missing {
  LayerSet layers = 0;
  std::vector<std::string> problems;
};

// What the kernel does not have, without that which may be missing.
absl::StatusOr<Missing> FindMissing(const SandboxOptions& options, const CgroupTree& cgroups) {
  const auto allows = [&](absl::string_view name) {
    return std::find(options.missing_layers_allowed.begin(), options.missing_layers_allowed.end(),
                     name) != options.missing_layers_allowed.end();
  };
  for (const std::string& name : options.missing_layers_allowed) {
    if (name == "landlock" || name == "memory_rlimit") continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "sandbox.missing_layers_allowed: expected \"landlock\" or \"memory_rlimit\", found \"",
        name, "\""));
  }
  Missing missing;
  if (LandlockVersion() == 0) {
    missing.layers |= SetOf(Layer::kLandlock);
    if (!allows("landlock")) {
      missing.problems.push_back(
          "landlock: the kernel has none (CONFIG_SECURITY_LANDLOCK, and landlock in the boot "
          "parameter lsm=); to do without: sandbox.missing_layers_allowed = [\"landlock\"]");
    }
  }
  // Control groups come and go together: half of them would need both ways to watch a job.
  if (cgroups.layers() != kCgroupLayers) {
    missing.layers |= kCgroupLayers;
    if (!allows("memory_rlimit")) {
      missing.problems.push_back(absl::StrCat(
          "cgroup_memory: no control group with memory, pids and cpu can be made (",
          cgroups.problem(),
          "); run as root, or under `systemd-run --user --scope -p Delegate=yes`; to do with "
          "limits "
          "of single processes: sandbox.missing_layers_allowed = [\"memory_rlimit\"]"));
    }
  }
  return missing;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SandboxPool>> SandboxPool::Start(const SandboxOptions& options) {
  std::unique_ptr<SandboxPool> pool(new SandboxPool);
  pool->cgroups_ = CgroupTree::Create();
  R1_ASSIGN_OR_RETURN(const Missing missing, FindMissing(options, *pool->cgroups_));
  const auto refuse = [](const std::vector<std::string>& problems) {
    return absl::FailedPreconditionError(
        absl::StrCat("this machine cannot hold foreign code: ", absl::StrJoin(problems, "; ")));
  };
  if (!missing.problems.empty()) return refuse(missing.problems);
  pool->layers_ = kAllLayers & ~missing.layers;
  if ((missing.layers & kCgroupLayers) != 0) pool->layers_ |= SetOf(Layer::kMemoryRlimit);
  absl::MutexLock lock(&pool->mutex_);
  const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  pool->runners_.count_max = 4 * processors;
  pool->compilers_.count_max = std::min(processors, kCompilersMax);
  absl::StatusOr<std::unique_ptr<Slot>> slot = Slot::Start({.layers = pool->layers_});
  if (!slot.ok()) return refuse({std::string(slot.status().message())});
  for (const Program program : {Program::kPython, Program::kPath}) {
    const absl::StatusOr<std::vector<std::string>> leaks =
        FindLeaks(**slot, *pool->cgroups_, pool->layers_, program);
    if (!leaks.ok()) return refuse({std::string(leaks.status().message())});
    if (!leaks->empty()) return refuse(*leaks);
  }
  pool->runners_.idle.push_back(*std::move(slot));
  pool->runners_.count = 1;
  for (uint32_t i = 0; i < kLayerCount; ++i) {
    if (Contains(missing.layers, static_cast<Layer>(i))) {
      R1_LOG(kWarning) << "sandbox: without the layer " << kLayerNames[i] << ", as allowed";
    }
  }
  return pool;
}

SandboxPool::~SandboxPool() {
  absl::MutexLock lock(&mutex_);
  runners_.idle.clear();
  compilers_.idle.clear();
}

absl::StatusOr<std::unique_ptr<Slot>> SandboxPool::Acquire(Shelf& shelf, bool compiles) {
  {
    absl::MutexLock lock(&mutex_);
    const auto is_free = [&shelf] { return !shelf.idle.empty() || shelf.count < shelf.count_max; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&is_free), kWaitMax)) {
      return absl::UnavailableError(absl::StrCat("no slot of the sandbox became free within ",
                                                 ToInt64Minutes(kWaitMax), " minutes"));
    }
    if (!shelf.idle.empty()) {
      std::unique_ptr<Slot> slot = std::move(shelf.idle.back());
      shelf.idle.pop_back();
      return slot;
    }
    ++shelf.count;
  }
  absl::StatusOr<std::unique_ptr<Slot>> slot = Slot::Start(
      {.layers = layers_, .with_python = compiles ? 0u : 1u, .with_header = compiles ? 1u : 0u});
  if (!slot.ok()) Release(shelf, nullptr);
  return slot;
}

void SandboxPool::Release(Shelf& shelf, std::unique_ptr<Slot> slot) {
  absl::MutexLock lock(&mutex_);
  if (slot == nullptr || slot->is_broken()) {
    --shelf.count;
  } else {
    shelf.idle.push_back(std::move(slot));
  }
}

absl::StatusOr<std::vector<JobResult>> SandboxPool::Run(const std::vector<Job>& jobs,
                                                        bool compiles) {
  Shelf& shelf = compiles ? compilers_ : runners_;
  R1_ASSIGN_OR_RETURN(std::unique_ptr<Slot> slot, Acquire(shelf, compiles));
  absl::StatusOr<std::vector<JobResult>> results = RunJobs(*slot, *cgroups_, jobs, layers_);
  Release(shelf, std::move(slot));
  return results;
}

}  // namespace r1::rewards::code
