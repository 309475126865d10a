// The first process of a slot: takes RunRequests from the grader, makes a run's namespaces with an
// init of its own, has the job started in them (by itself or by the zygote), and kills and reaps
// the whole tree when the job ends. Single-threaded; it trusts the grader and nobody else.
#pragma once

#include "rewards/code/sandbox/protocol.h"

namespace r1::rewards::code {

// Serves until the grader closes its end of kControlFd, then returns. The kernel kills everything
// else of the slot when this process ends.
void ServeSlot(const SlotSettings& settings);

}  // namespace r1::rewards::code
