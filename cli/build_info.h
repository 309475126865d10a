// What this program was built from; printed by `r1 version`, kept in run directories.
#pragma once

#include <string>

namespace r1::cli {

struct BuildInfo {
  std::string version;
  std::string commit;  // "unknown" outside a git clone
  std::string compiler;
  std::string torch;  // the LibTorch that is loaded
  std::string mpi;
  std::string grpc;
  bool cuda_kernels = false;
  std::string isas;  // CPU kernels that this machine runs, best first (*_bf16: bf16 only)
};

const BuildInfo& Build();
// One line: "r1 0.1.0 (3f2a9c1, g++ 12.2.0, LibTorch 2.11.0, CUDA kernels: no)".
std::string BuildLine();
// The same as a JSON object.
std::string BuildJson();

}  // namespace r1::cli
