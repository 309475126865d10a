// Turns a freshly forked process into the job of a run: its namespaces, control groups, limits,
// descriptors, no capabilities, Landlock, seccomp. Used by the slot's server (programs that are
// executed) and by the Python zygote (jobs that stay in the warm interpreter).
#pragma once

#include <linux/filter.h>
#include <sys/resource.h>

#include <vector>

#include "rewards/code/sandbox/channel.h"
#include "rewards/code/sandbox/inside/failure.h"
#include "rewards/code/sandbox/protocol.h"

namespace r1::rewards::code {

// What is worked out once for a slot.
struct ConfineTools {
  std::vector<sock_filter> seccomp_filter;
  int landlock_version = 0;
};
ConfineTools MakeConfineTools();

// Where the job finds its program until exec closes it, and where it says that it failed before.
inline constexpr int kProgramFd = 60;
inline constexpr int kReportFd = 61;

// In the job. `init` is a pidfd of the run's init. On success descriptors 0-2 and the passed ones
// are open, with kProgramFd and kReportFd, close-on-exec, and nothing else.
Failure ConfineSelf(const RunRequest& request, Descriptors& descriptors, int init, int report,
                    const ConfineTools& tools);

// All of them, for ever.
Failure DropCapabilities();

// In the job, when something failed: says so to whoever listens at `report`, and ends.
[[noreturn]] void ReportAndExit(int report, uint32_t run, const Failure& failure);

Reply MakeFailedReply(uint32_t run, const Failure& failure);
Reply MakeFinishedReply(uint32_t run, int wait_status, const rusage& usage);

}  // namespace r1::rewards::code
