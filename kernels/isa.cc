#include "kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <string>

namespace r1::kernels {
namespace {

// The tile registers hold 8 KiB, which Linux saves only for processes that have asked for it; its
// Documentation/arch/x86/xstate.rst. Only where AVX-512 is there, and so XGETBV.
bool AskForTiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  constexpr unsigned kAmxBf16AndTile = 1u << 22 | 1u << 24;
  if ((edx & kAmxBf16AndTile) != kAmxBf16AndTile) return false;
  uint32_t saved = 0, saved_high = 0;
  asm("xgetbv" : "=a"(saved), "=d"(saved_high) : "c"(0));
  constexpr uint32_t kTileConfigAndData = 1u << 17 | 1u << 18;
  if ((saved & kTileConfigAndData) != kTileConfigAndData) return false;
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older headers lack
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool MayUseTiles() {
  static const bool may_use = AskForTiles();
  return may_use;
}

}  // namespace

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
    case IsaName::kAmxBf16:
      return "amx_bf16";
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
      if (MayUseTiles()) isas.push_back(IsaName::kAmxBf16);
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
