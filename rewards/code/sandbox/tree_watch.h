// What the processes of a slot use, read from /proc by the grader. The fallback for memory where no
// control group can be had.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace r1::rewards::code {

// Resident bytes of all processes whose pid namespace is that of the run whose init this is a pidfd
// of; 0 when it is gone.
uint64_t ResidentBytes(pid_t helper, int init);

}  // namespace r1::rewards::code
