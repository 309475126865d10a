// Name -> factory tables that files fill by themselves, so that one new file adds a model, task,
// reward or algorithm.
//
//   using RewardRegistry = Registry<std::unique_ptr<Reward>()>;
//   R1_REGISTER(RewardRegistry, "format", [] { return std::make_unique<FormatReward>(); });
//
// Libraries that hold registrations are linked whole (cmake/R1Targets.cmake, REGISTRY), or the
// linker drops them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/status.h"

namespace r1 {

template <typename Signature>
class Registry {
 public:
  using Factory = std::function<Signature>;

  // Called during static initialisation only. A name taken twice is a bug.
  static bool Register(const std::string& name, Factory factory) {
    R1_CHECK(Table().emplace(name, std::move(factory)).second);
    return true;
  }

  // Null when there is no such name.
  static const Factory* FindOrNull(const std::string& name) {
    const auto found = Table().find(name);
    return found == Table().end() ? nullptr : &found->second;
  }

  // Sorted.
  static std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& [name, factory] : Table()) names.push_back(name);
    return names;
  }

 private:
  static std::map<std::string, Factory>& Table() {
    static auto* table = new std::map<std::string, Factory>;
    return *table;
  }
};

}  // namespace r1

#define R1_REGISTER(registry, name, ...)                                   \
  [[maybe_unused]] static const bool R1_CONCAT(r1_registered_, __LINE__) = \
      registry::Register(name, __VA_ARGS__)
