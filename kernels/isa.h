// Which instruction sets the CPU kernels are built for, and which of them this machine can run. The
// choice is made once per engine, at run time; only the files named *_avx2.cc, *_avx512.cc and
// *_amx.cc are compiled with those instructions.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "kernels/panels.h"

namespace r1::kernels {

// Bumped by every change that moves a bit of any kernel's result; part of a run's numerics
// fingerprint.
inline constexpr int kKernelVersion = 2;

enum class IsaName {
  kReference,  // plain C++: slow, the tests' truth, runs anywhere
  kAvx2,       // AVX2 and FMA
  kAvx512,     // AVX-512 F, BW, DQ, VL
  // kAvx512, with the BF16 instructions for products with bf16 panels. A set of its own because it
  // rounds otherwise (matmul.h), and so only for whoever asks for bf16.
  kAvx512Bf16,
  // kAvx512Bf16, with AMX's tile registers for those products; they round otherwise again.
  kAmxBf16,
};

// "reference", "avx2", "avx512", "avx512_bf16", "amx_bf16".
absl::string_view IsaText(IsaName isa);

// What this CPU and operating system can run with matrices of that type, best first; the reference
// is always last. For bf16 it asks Linux, once, to let this process use AMX.
std::vector<IsaName> DetectIsas(WeightType type = WeightType::kFp32);

// "auto" gives the best of DetectIsas(). InvalidArgument: an unknown name, or one that this machine
// cannot run.
[[nodiscard]] absl::StatusOr<IsaName> ParseIsa(absl::string_view text,
                                               WeightType type = WeightType::kFp32);

}  // namespace r1::kernels
