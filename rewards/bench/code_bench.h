// Rates of the sandbox, for r1_bench_rewards.
#pragma once

namespace r1::rewards {

// Prints verdicts a second on short Python programs and the cost of an executed run over a bare
// fork and exec. False, with a line that says why, where there is no sandbox.
bool PrintCodeRates();

}  // namespace r1::rewards
