#include "rewards/code/sandbox/inside/landlock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <initializer_list>

namespace r1::rewards::code {
namespace {

// linux/landlock.h of Debian 12 ends at version 2, so the numbers of the kernel's interface stand
// here (Documentation/userspace-api/landlock.rst).
struct RulesetAttributes {
  uint64_t handled_files;
  uint64_t handled_network;  // from version 4 on
  uint64_t scoped;           // from version 6 on
};
struct [[gnu::packed]] PathRule {
  uint64_t allowed;
  int32_t folder;
};
constexpr uint32_t kGetVersion = 1;
constexpr int kPathRuleType = 1;
constexpr uint64_t kExecute = 1 << 0, kWriteFile = 1 << 1, kReadFile = 1 << 2, kReadFolder = 1 << 3,
                   kIoctlDevice = 1 << 15;
constexpr uint64_t kNetworkAll = 3;  // bind and connect TCP
constexpr uint64_t kScopeAll = 3;    // abstract sockets and signals

uint64_t AllFileRights(int version) {
  if (version >= 5) return (1 << 16) - 1;
  if (version >= 3) return (1 << 15) - 1;
  return version == 2 ? (1 << 14) - 1 : (1 << 13) - 1;
}

// A folder that is not there, or is a link to one that is, needs no rule.
Failure Allow(int ruleset, const char* path, uint64_t rights) {
  struct stat found;
  if (lstat(path, &found) != 0 || !S_ISDIR(found.st_mode)) return {};
  PathRule rule{.allowed = rights, .folder = open(path, O_PATH | O_CLOEXEC)};
  if (rule.folder < 0) return FailedAt("open a folder for Landlock");
  const long added = syscall(__NR_landlock_add_rule, ruleset, kPathRuleType, &rule, 0);
  const Failure failure = added == 0 ? Failure{} : FailedAt("add a rule to Landlock");
  close(rule.folder);
  return failure;
}

Failure AllowAll(int ruleset, uint64_t all) {
  for (const char* path : {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"}) {
    R1_RETURN_IF_FAILED(Allow(ruleset, path, kExecute | kReadFile | kReadFolder));
  }
  for (const char* path : {"/etc", "/r1"}) {
    R1_RETURN_IF_FAILED(Allow(ruleset, path, kReadFile | kReadFolder));
  }
  R1_RETURN_IF_FAILED(
      Allow(ruleset, "/dev", (kReadFile | kWriteFile | kReadFolder | kIoctlDevice) & all));
  return Allow(ruleset, "/box", all & ~kExecute);
}

}  // namespace

int LandlockVersion() {
  const long version = syscall(__NR_landlock_create_ruleset, nullptr, 0, kGetVersion);
  return version > 0 ? static_cast<int>(version) : 0;
}

Failure RestrictWithLandlock(int version) {
  const uint64_t all = AllFileRights(version);
  const RulesetAttributes attributes{.handled_files = all,
                                     .handled_network = version >= 4 ? kNetworkAll : 0,
                                     .scoped = version >= 6 ? kScopeAll : 0};
  const int ruleset =
      static_cast<int>(syscall(__NR_landlock_create_ruleset, &attributes, sizeof(attributes), 0));
  if (ruleset < 0) return FailedAt("create a Landlock ruleset");
  Failure failure = AllowAll(ruleset, all);
  if (!failure && syscall(__NR_landlock_restrict_self, ruleset, 0) != 0) {
    failure = FailedAt("restrict the job with Landlock");
  }
  close(ruleset);
  return failure;
}

}  // namespace r1::rewards::code
