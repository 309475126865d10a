// What the grader and the process inside of a slot say to each other, over a SOCK_SEQPACKET socket:
// one struct a message, descriptors beside it. Both ends are built from this file at the same time,
// so it has no version. The grader is the multi-threaded process that wants verdicts; a slot is one
// set of namespaces with a server (pid 1 inside) and a warm Python interpreter; a run is one job in
// namespaces of its own within the slot.
//
//   grader -> server   SlotSettings, once                        the slot is built
//   server -> grader   Reply kSlotReady | kFailed
//   grader -> server   RunRequest + descriptors
//   server -> grader   Reply kRunStarted + pidfd of the run's init | kFailed
//   server -> grader   Reply kRunFinished: everything of the run is dead and reaped
//
// The same RunRequest goes from the server to the Python zygote, which answers kRunStarted with the
// pid, and kRunFinished when it has reaped that pid. A job that could not be confined says kFailed.
#pragma once

#include <cstdint>

#include "rewards/code/sandbox/layers.h"

namespace r1::rewards::code {

inline constexpr int kControlFd = 3;        // of a helper process when it starts
inline constexpr int kInsideUid = 1000;     // the only user and group inside
inline constexpr int kRunsAtOnceMax = 4;    // in one slot
inline constexpr int kDescriptorsMax = 16;  // of one message
inline constexpr uint32_t kArgumentBytesMax = 1024;

struct SlotSettings {
  LayerSet layers = kAllLayers;
  uint32_t host_uid = 0;  // that kInsideUid stands for
  uint32_t host_gid = 0;
  uint32_t with_python = 1;
  uint32_t with_header = 0;  // precompiles <bits/stdc++.h> for each of the standards below
};

enum class Program : uint32_t {
  kPython,      // the zygote's: reads its text from descriptor 3
  kPath,        // arguments[0] is looked up inside
  kDescriptor,  // the program is the descriptor after the passed ones
};

// Descriptors, in this order: stdin, stdout, stderr, then `passed` ones that the job finds at 3, 4,
// …, then the program (kDescriptor), then the file that takes kExportPath (`exports`), then
// `cgroups` open cgroup.procs files that the job writes itself into.
struct RunRequest {
  uint32_t run = 0;  // below kRunsAtOnceMax, and not in use
  Program program = Program::kPython;
  LayerSet layers = kAllLayers;
  uint32_t passed = 0;
  uint32_t exports = 0;  // 1: when the job ends with exit code 0, kExportPath is copied out
  uint32_t cgroups = 0;
  uint32_t cpu_seconds = 0;
  uint32_t processes = 0;
  uint64_t address_space_bytes = 0;  // 0 = no limit
  uint64_t files_bytes = 0;          // of all files that the job writes
  uint64_t export_bytes_max = 0;
  uint32_t argument_bytes = 0;
  char arguments[kArgumentBytesMax] = {};  // each ends with a NUL
};
inline constexpr char kExportPath[] = "/box/w/program";

enum class ReplyKind : uint32_t { kSlotReady, kRunStarted, kRunFinished, kFailed };

struct Reply {
  ReplyKind kind = ReplyKind::kFailed;
  uint32_t run = 0;
  int32_t pid = 0;          // inside only: the job's; of kFailed: 0 = there is no job to wait for
  int32_t wait_status = 0;  // of the job, as of waitpid
  int32_t error = 0;        // errno of kFailed
  uint32_t exported = 0;
  uint64_t cpu_microseconds = 0;
  uint64_t resident_kib_max = 0;
  char step[64] = {};  // of kFailed: what was being done
};

}  // namespace r1::rewards::code
