// r1 score audit: outputs that try to get a reward without deserving it.
#pragma once

#include <vector>

#include "cli/score_rewards.h"

namespace r1::cli {

// Prints, for each reward, the score of an honest right and an honest wrong output and of each
// cheat, and names those cheats that score at least as much as the right one. Returns the exit
// code: 0 even when something can be gamed, 3 when a reward failed.
int AuditRewards(const std::vector<NamedReward>& rewards, bool json);

}  // namespace r1::cli
