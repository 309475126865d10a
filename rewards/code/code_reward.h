// The reward `code`, and how a program that uses it sets the sandbox up.
#pragma once

#include "rewards/code/sandbox/pool.h"
#include "rewards/reward.h"

namespace r1::rewards {

// What happens when this machine cannot hold foreign code.
enum class OnUnavailable {
  kFail,     // Reward::Prepare is an error, which stops the run
  kDisable,  // every sample is masked, with the reason "sandbox_unavailable"
};

// For the code rewards that are made after this call; the defaults hold without it. Thread-safe.
void ConfigureSandbox(const code::SandboxOptions& options, OnUnavailable on_unavailable);

}  // namespace r1::rewards
