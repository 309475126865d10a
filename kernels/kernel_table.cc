#include "kernels/kernel_table.h"

#include "common/status.h"

namespace r1::kernels {
namespace {

constexpr KernelTable kReferenceTable = {
    .isa = IsaName::kReference,
    .rms_norm = RmsNormReference,
    .matmul = MatmulReference,
    .swiglu = SwigluReference,
    .rope = RopeReference,
    .mla_decode = MlaDecodeReference,
    .gqa_decode = GqaDecodeReference,
    .moe_router = MoeRouterReference,
    .moe_experts = MoeExpertsReference,
    .moe_combine = MoeCombineReference,
    .sample_head = SampleHeadReference,
    .scan_vocab = ScanVocabReference,
    .draw_tokens = DrawTokensReference,
};

constexpr KernelTable kAvx2Table = {
    .isa = IsaName::kAvx2,
    .rms_norm = RmsNormFp32Avx2,
    .matmul = MatmulFp32Avx2,
    .swiglu = SwigluFp32Avx2,
    .rope = RopeFp32Avx2,
    .mla_decode = MlaDecodeFp32Avx2,
    .gqa_decode = GqaDecodeFp32Avx2,
    .moe_router = MoeRouterFp32Avx2,
    .moe_experts = MoeExpertsFp32Avx2,
    .moe_combine = MoeCombineFp32Avx2,
    .sample_head = SampleHeadFp32Avx2,
    .scan_vocab = ScanVocabFp32Avx2,
    .draw_tokens = DrawTokensFp32Avx2,
};

constexpr KernelTable kAvx512Table = {
    .isa = IsaName::kAvx512,
    .rms_norm = RmsNormFp32Avx512,
    .matmul = MatmulFp32Avx512,
    .swiglu = SwigluFp32Avx512,
    .rope = RopeFp32Avx512,
    .mla_decode = MlaDecodeFp32Avx512,
    .gqa_decode = GqaDecodeFp32Avx512,
    .moe_router = MoeRouterFp32Avx512,
    .moe_experts = MoeExpertsFp32Avx512,
    .moe_combine = MoeCombineFp32Avx512,
    .sample_head = SampleHeadFp32Avx512,
    .scan_vocab = ScanVocabFp32Avx512,
    .draw_tokens = DrawTokensFp32Avx512,
};

constexpr KernelTable kAvx512Bf16Table = [] {
  KernelTable table = kAvx512Table;
  table.isa = IsaName::kAvx512Bf16;
  table.matmul = MatmulBf16Avx512;
  table.swiglu = SwigluBf16Avx512;
  table.moe_experts = MoeExpertsBf16Avx512;
  table.sample_head = SampleHeadBf16Avx512;
  table.scan_vocab = ScanVocabBf16Avx512;
  table.draw_tokens = DrawTokensBf16Avx512;
  return table;
}();

constexpr KernelTable kAmxBf16Table = [] {
  KernelTable table = kAvx512Table;
  table.isa = IsaName::kAmxBf16;
  table.matmul = MatmulBf16Amx;
  table.swiglu = SwigluBf16Amx;
  table.moe_experts = MoeExpertsBf16Amx;
  table.sample_head = SampleHeadBf16Amx;
  table.scan_vocab = ScanVocabBf16Amx;
  table.draw_tokens = DrawTokensBf16Amx;
  return table;
}();

}  // namespace

const KernelTable& KernelsFor(IsaName isa) {
  switch (isa) {
    case IsaName::kReference:
      return kReferenceTable;
    case IsaName::kAvx2:
      return kAvx2Table;
    case IsaName::kAvx512:
      return kAvx512Table;
    case IsaName::kAvx512Bf16:
      return kAvx512Bf16Table;
    case IsaName::kAmxBf16:
      return kAmxBf16Table;
  }
  CheckFailed(__FILE__, __LINE__, "isa is one of the enum");
}

}  // namespace r1::kernels
