// One running instance of a plugin: a process or a connection. Used by one thread at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "common/registry.h"
#include "common/status.h"
#include "rewards/reward.h"

namespace r1::rewards {

class PluginInstance {
 public:
  virtual ~PluginInstance() = default;
  // One score a sample, in their order; those that failed alone have an `error`. A status means
  // that the instance is of no more use.
  [[nodiscard]] virtual absl::StatusOr<std::vector<Score>> ScoreBatch(
      std::span<const RewardInput* const> samples, double timeout_seconds) = 0;
};

// How instances of one plugin are made. Thread-safe.
class PluginRoute {
 public:
  virtual ~PluginRoute() = default;
  // The instance ends with the thread that starts it.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<PluginInstance>> Start() const = 0;
};

// By the key of v1::RewardPluginConfig that names the place: "command", "library", "python", and,
// in builds with gRPC, "address". A factory checks what can be checked without starting anything.
using PluginRouteRegistry =
    Registry<absl::StatusOr<std::unique_ptr<PluginRoute>>(const v1::RewardConfig& config)>;

}  // namespace r1::rewards
