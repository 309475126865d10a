// The layers of the sandbox. Each is one mechanism of the kernel that holds a job back; the names
// are those of `[sandbox] missing_layers_allowed`. docs/code_sandbox.md says what each one stops.
#pragma once

#include <cstdint>

namespace r1::rewards::code {

enum class Layer : uint32_t {
  kUserNamespace,
  kPidNamespace,
  kMountNamespace,
  kNetworkNamespace,
  kIpcNamespace,
  kUtsNamespace,
  kEnvironment,   // starts with an empty one
  kCapabilities,  // drops all, and can gain none (no_new_privs)
  kResourceLimits,
  kSeccomp,
  kLandlock,
  kCgroupMemory,
  kCgroupPids,
  kCgroupCpu,
  kMemoryRlimit,  // in place of the three above: limits of single processes, and a watch over all
  kCount,
};
inline constexpr uint32_t kLayerCount = static_cast<uint32_t>(Layer::kCount);

inline constexpr const char* kLayerNames[kLayerCount] = {
    "user_namespace", "pid_namespace", "mount_namespace", "network_namespace", "ipc_namespace",
    "uts_namespace",  "environment",   "capabilities",    "resource_limits",   "seccomp",
    "landlock",       "cgroup_memory", "cgroup_pids",     "cgroup_cpu",        "memory_rlimit"};

// A set of layers.
using LayerSet = uint32_t;
constexpr LayerSet SetOf(Layer layer) { return 1u << static_cast<uint32_t>(layer); }
// What a machine that has everything uses.
inline constexpr LayerSet kAllLayers = SetOf(Layer::kMemoryRlimit) - 1;
constexpr bool Contains(LayerSet set, Layer layer) { return (set & SetOf(layer)) != 0; }
inline constexpr LayerSet kCgroupLayers =
    SetOf(Layer::kCgroupMemory) | SetOf(Layer::kCgroupPids) | SetOf(Layer::kCgroupCpu);

}  // namespace r1::rewards::code
