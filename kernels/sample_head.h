// Head, softmax, sampling and logprob in one: logits exist for a few rows and kVocabChunk tokens at
// a time, never for the batch. A token is drawn by the inverse of the distribution function in
// vocabulary order: the first token whose cumulative probability exceeds the given uniform number.
//
// Rounding: logits as in matmul.h, times 1 / temperature, fp32; e^x of error below 1 ulp; sums in
// double precision; logprob = logit - log(sum), rounded to fp32 at the end. When the vocabulary has
// more than one chunk, the drawn chunk's logits are computed a second time (with the same bits)
// instead of being kept.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace r1::kernels {

inline constexpr int kVocabChunk = 256;
inline constexpr int kVocabMax = kVocabChunk * 2048;

inline int VocabChunks(int vocab) { return (vocab + kVocabChunk - 1) / kVocabChunk; }

// What is kept of a chunk of the vocabulary: sum = Σ e^(logit - maximum).
struct VocabChunk {
  float maximum;
  double sum;
};

struct SampleHeadArgs {
  const float* x = nullptr;  // [M, D], after the final norm
  int64_t x_stride = 0;
  PackedMatrix head;  // n = vocabulary <= kVocabMax
  int m = 0;
  // [M]; 0 = greedy: the highest logit, the lowest id among equals.
  const float* temperatures = nullptr;
  const double* uniforms = nullptr;  // [M] in [0, 1)
  int32_t* tokens = nullptr;         // [M]
  // [M], under the distribution that was sampled from; greedy rows: at temperature 1. Not a number
  // when a logit is none.
  float* logprobs = nullptr;
  VocabChunk* chunks = nullptr;  // [M, VocabChunks(head.n)]; of the two steps only
};

void SampleHeadReference(const SampleHeadArgs& args);
void SampleHeadFp32Avx2(const SampleHeadArgs& args);
void SampleHeadFp32Avx512(const SampleHeadArgs& args);
void SampleHeadBf16Avx512(const SampleHeadArgs& args);
void SampleHeadBf16Amx(const SampleHeadArgs& args);

// The same in two steps and with the same bits, so that threads may share the vocabulary and read
// each of the head's weights once: ScanVocab fills the chunks [chunk_begin, chunk_end) of all rows;
// when all are filled, DrawTokens draws.
void ScanVocabReference(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
void ScanVocabFp32Avx2(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
void ScanVocabFp32Avx512(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
void ScanVocabBf16Avx512(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
void ScanVocabBf16Amx(const SampleHeadArgs& args, int chunk_begin, int chunk_end);
void DrawTokensReference(const SampleHeadArgs& args);
void DrawTokensFp32Avx2(const SampleHeadArgs& args);
void DrawTokensFp32Avx512(const SampleHeadArgs& args);
void DrawTokensBf16Avx512(const SampleHeadArgs& args);
void DrawTokensBf16Amx(const SampleHeadArgs& args);

}  // namespace r1::kernels
