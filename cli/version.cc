// r1 version: what this build is and what it can run here.

#include <iostream>

#include "cli/build_info.h"
#include "cli/commands.h"

namespace r1::cli {
namespace {

int Version(const ParsedCommand& parsed) {
  if (parsed.Has("json")) {
    std::cout << BuildJson();
    return kExitDone;
  }
  const BuildInfo& build = Build();
  std::cout << BuildLine() << "\n"
            << "  gRPC " << build.grpc << ", MPI standard " << build.mpi << "\n"
            << "  CPU kernels that this machine runs: " << build.isas << "\n"
            << "  CUDA kernels: "
            << (build.cuda_kernels ? "built (kernels/cuda; engine and learner run on the CPU today)"
                                   : "left out: no CUDA compiler was found at configure time")
            << "\n";
  return kExitDone;
}

}  // namespace

const Command& VersionCommand() {
  static const auto* command =
      new Command{{.name = "version",
                   .summary = "Prints what this build is and what it can run here.",
                   .flags = {{.name = "json", .help = "as a JSON object"}}},
                  &Version};
  return *command;
}

}  // namespace r1::cli
