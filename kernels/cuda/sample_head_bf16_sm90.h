// Head, softmax, sampling and logprob on Hopper, as kernels/sample_head.h says: a token is drawn by
// the inverse of the distribution function in vocabulary order. Logits never reach memory: the
// head's product leaves, for every 16 neighbouring ids, their highest logit and the sum of their
// exponentials; a second kernel finds the 16 ids that the uniform number falls into and computes
// their logits again. Two kernels, no host synchronisation.
//
// Rounding: logits are fp32 sums over columns in steps of 16, in order, times log2(e) /
// temperature; 2^x of relative error below 2^-21; sums of the 16 in fp32, all others in double
// precision; log2 of the total in fp32. A row's token and logprob do not depend on the other rows.
// The error of a logprob is about 1e-5 against exact arithmetic on the same bf16 inputs.
//
// Shape letters: M rows, D model, V vocabulary.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/rng.h"
#include "kernels/cuda/packed_weights.h"

namespace r1::kernels {

inline constexpr int kSampleHeadRowsMax = 1024;
inline constexpr int kSampleHeadVocabMax = 1 << 18;

struct SampleHeadBf16Args {
  int rows = 0;    // M, 1 to kSampleHeadRowsMax
  int hidden = 0;  // D, a multiple of 128
  int vocab = 0;   // V, 1 to kSampleHeadVocabMax
  const __nv_bfloat16* x =
      nullptr;  // [M, D] after the final norm, rows x_stride elements apart, a multiple of 8
  int64_t x_stride = 0;
  const uint8_t* head = nullptr;  // packed by PackRowsBf16Sm90 (V rows, D columns)
  const float* temperatures =
      nullptr;  // [M]; 0 = greedy: the highest logit, the lowest id among equals
  // [M] each: the row's uniform number is rngs[i].UniformAt(positions[i]), as on the CPU.
  const Rng* rngs = nullptr;
  const uint32_t* positions = nullptr;
  int32_t* tokens = nullptr;  // [M]
  // [M], under the distribution that was sampled from; greedy rows: at temperature 1. Not a number
  // when a logit is none.
  float* logprobs = nullptr;
  void* workspace = nullptr;  // of SampleHeadBf16Sm90WorkspaceBytes
};

int64_t SampleHeadBf16Sm90WorkspaceBytes(int vocab, int rows_max);

// cudaErrorInvalidValue for sizes or strides outside the limits above.
[[nodiscard]] cudaError_t SampleHeadBf16Sm90(const SampleHeadBf16Args& args, cudaStream_t stream);

}  // namespace r1::kernels
