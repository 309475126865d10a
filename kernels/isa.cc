#include "kernels/isa.h"

#include <string>

namespace r1::kernels {

absl::string_view IsaText(IsaName isa) {
  switch (isa) {
    case IsaName::kReference:
      return "reference";
    case IsaName::kAvx2:
      return "avx2";
    case IsaName::kAvx512:
      return "avx512";
    case IsaName::kAvx512Bf16:
      return "avx512_bf16";
  }
  return "unknown";
}

std::vector<IsaName> DetectIsas(WeightType type) {
  // The compiler's runtime reads CPUID and XGETBV, so that registers the operating system does not
  // save count as absent.
  __builtin_cpu_init();
  std::vector<IsaName> isas;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    if (type == WeightType::kBf16 && __builtin_cpu_supports("avx512bf16")) {
      isas.push_back(IsaName::kAvx512Bf16);
    }
    isas.push_back(IsaName::kAvx512);
  }
  if (avx2) isas.push_back(IsaName::kAvx2);
  isas.push_back(IsaName::kReference);
  return isas;
}

absl::StatusOr<IsaName> ParseIsa(absl::string_view text, WeightType type) {
  const std::vector<IsaName> isas = DetectIsas(type);
  if (text == "auto") return isas.front();
  std::string runnable;
  for (const IsaName isa : isas) {
    if (IsaText(isa) == text) return isa;
    absl::StrAppend(&runnable, runnable.empty() ? "" : ", ", IsaText(isa));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("isa: expected auto or one that this machine can run with ",
                   type == WeightType::kBf16 ? "bf16" : "fp32", " matrices (", runnable,
                   "), found \"", text, "\""));
}

}  // namespace r1::kernels
