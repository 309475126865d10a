#include "cli/build_info.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "build_config.h"
#include "kernels/isa.h"

namespace r1::cli {

const BuildInfo& Build() {
  static const auto* build = [] {
    std::vector<std::string> isas;
    for (const kernels::IsaName isa : kernels::DetectIsas(kernels::WeightType::kBf16))
      isas.emplace_back(kernels::IsaText(isa));
    return new BuildInfo{.version = R1_BUILD_VERSION,
                         .commit = R1_BUILD_COMMIT,
                         .compiler = R1_BUILD_COMPILER,
                         .torch = R1_BUILD_TORCH,
                         .mpi = R1_BUILD_MPI,
                         .grpc = R1_BUILD_GRPC,
                         .cuda_kernels = R1_BUILD_CUDA,
                         .isas = absl::StrJoin(isas, " ")};
  }();
  return *build;
}

std::string BuildLine() {
  const BuildInfo& build = Build();
  return absl::StrCat("r1 ", build.version, " (", build.commit, ", ", build.compiler, ", LibTorch ",
                      build.torch, ", CUDA kernels: ", build.cuda_kernels ? "yes" : "no", ")");
}

std::string BuildJson() {
  const BuildInfo& build = Build();
  const nlohmann::ordered_json json = {{"version", build.version},
                                       {"commit", build.commit},
                                       {"compiler", build.compiler},
                                       {"torch", build.torch},
                                       {"mpi", build.mpi},
                                       {"grpc", build.grpc},
                                       {"cuda_kernels", build.cuda_kernels},
                                       {"isas", build.isas}};
  return json.dump(2) + "\n";
}

}  // namespace r1::cli
