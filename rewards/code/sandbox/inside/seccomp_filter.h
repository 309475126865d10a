// The system-call filter of a job: an allow list. What a program may want and can do without gets
// ENOSYS (so that libraries fall back), sockets that are not local get EACCES, and what only an
// attack would call kills the process, which the verdict security_violation reports.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "rewards/code/sandbox/inside/failure.h"

namespace r1::rewards::code {

std::vector<sock_filter> MakeSeccompFilter();

// For the calling thread and all that it starts; needs no_new_privs.
Failure InstallSeccompFilter(const std::vector<sock_filter>& filter);

}  // namespace r1::rewards::code
