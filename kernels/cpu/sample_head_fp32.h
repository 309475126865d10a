// sample_head.h on the vectors of simd_*.h.
#pragma once

#include <cstdint>

#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/sample_head.h"

namespace r1::kernels {

template <class V>
struct VocabRow {
  alignas(64) float logits[kVocabChunk];   // divided by the temperature
  alignas(64) float weights[kVocabChunk];  // e^(logit - maximum of the chunk)

  // Fills both from the raw logits of a chunk.
  VocabChunk Fill(const float* raw, int tokens, float inverse_temperature) {
    using F = typename V::F;
    F highest = V::Set1(-__builtin_inff());
    for (int v = 0; v < tokens; v += 16) {
      const int lanes = tokens - v < 16 ? tokens - v : 16;
      const F logit = V::Mul(V::LoadFirst(raw + v, lanes), V::Set1(inverse_temperature));
      const F valid = V::Select(V::FirstLanes(lanes), logit, V::Set1(-__builtin_inff()));
      V::Store(logits + v, valid);
      highest = V::Max(highest, valid);
    }
    const float maximum = V::ReduceMax(highest);
    typename V::D sum = V::ZeroD();
    for (int v = 0; v < tokens; v += 16) {
      const F weight = Exp<V>(V::Sub(V::Load(logits + v), V::Set1(maximum)));
      V::Store(weights + v, weight);
      sum = V::AddD(sum, weight);
    }
    return {maximum, V::ReduceAddD(sum)};
  }
};

template <class V>
float ExpOfOne(float x) {
  if (x == 0) return 1.0f;  // most often there is one chunk, and its maximum is the maximum
  alignas(64) float lanes[16];
  V::Store(lanes, Exp<V>(V::Set1(x)));
  return lanes[0];
}

// Draws one row's token and writes its logprob. `row` holds the only chunk (is_filled), or is
// filled again for the drawn one.
template <class V>
void DrawToken(const SampleHeadArgs& args, int m, const VocabChunk* chunks, int chunk_count,
               bool is_filled, VocabRow<V>* row) {
  float maximum = chunks[0].maximum;
  for (int c = 1; c < chunk_count; ++c)
    maximum = maximum < chunks[c].maximum ? chunks[c].maximum : maximum;
  double total = 0;
  for (int c = 0; c < chunk_count; ++c) {
    total += chunks[c].sum * static_cast<double>(ExpOfOne<V>(chunks[c].maximum - maximum));
  }

  const bool greedy = args.temperatures[m] == 0;
  const double target = args.uniforms[m] * total;
  int chunk = 0;
  double scale = 0;
  double below = 0;   // the weight of all tokens before `chunk`
  double before = 0;  // the same for c
  for (int c = 0; c < chunk_count; ++c) {
    const double chunk_scale = ExpOfOne<V>(chunks[c].maximum - maximum);
    const double chunk_weight = chunks[c].sum * chunk_scale;
    if (chunk_scale >
        0) {  // rounding may leave the target behind the end: then it is the last possible chunk
      chunk = c;
      scale = chunk_scale;
      below = before;
    }
    if (greedy ? chunks[c].maximum == maximum : before + chunk_weight > target) break;
    before += chunk_weight;
  }

  const int first = chunk * kVocabChunk;
  const int tokens = args.head.n - first < kVocabChunk ? args.head.n - first : kVocabChunk;
  if (!is_filled) {
    alignas(64) float raw[kVocabChunk];
    const PackedMatrix part = {args.head.panels.From(int64_t{first} * args.head.k), tokens,
                               args.head.k};
    MatmulFp32<V>({.x = args.x + m * args.x_stride, .w = part, .y = raw, .m = 1});
    row->Fill(raw, tokens, greedy ? 1.0f : 1.0f / args.temperatures[m]);
  }
  int token = 0;
  for (int v = 0; v < tokens; ++v) {
    if (row->weights[v] > 0) token = v;
    if (greedy ? row->logits[v] == maximum : (below += row->weights[v] * scale) > target) break;
  }
  args.tokens[m] = first + token;
  const double logit = static_cast<double>(row->logits[token]) - static_cast<double>(maximum);
  args.logprobs[m] = static_cast<float>(logit - __builtin_log(total));
}

template <class V>
void SampleHeadFp32(const SampleHeadArgs& args) {
  constexpr int kRows = kProductRows<V>;
  const int chunk_count = VocabChunks(args.head.n);
  alignas(64) float raw[kRows][kVocabChunk];
  VocabChunk chunks[kRows][kVocabMax / kVocabChunk];
  VocabRow<V> row;
  for (int first = 0; first < args.m; first += kRows) {
    const int rows = args.m - first < kRows ? args.m - first : kRows;
    for (int c = 0; c < chunk_count; ++c) {
      const int start = c * kVocabChunk;
      const int tokens = args.head.n - start < kVocabChunk ? args.head.n - start : kVocabChunk;
      MatmulFp32<V>(
          {.x = args.x + first * args.x_stride,
           .x_stride = args.x_stride,
           .w = {args.head.panels.From(int64_t{start} * args.head.k), tokens, args.head.k},
           .y = raw[0],
           .y_stride = kVocabChunk,
           .m = rows});
      for (int r = 0; r < rows; ++r) {
        const float temperature = args.temperatures[first + r];
        chunks[r][c] = row.Fill(raw[r], tokens, temperature == 0 ? 1.0f : 1.0f / temperature);
        if (chunk_count == 1) DrawToken<V>(args, first + r, chunks[r], 1, true, &row);
      }
    }
    if (chunk_count == 1) continue;
    for (int r = 0; r < rows; ++r) {
      DrawToken<V>(args, first + r, chunks[r], chunk_count, false, &row);
    }
  }
}

// A chunk's weights stay in the second-level cache while the rows pass by, some panels of them in
// the first-level cache.
template <class V>
void ScanVocabFp32(const SampleHeadArgs& args, int chunk_begin, int chunk_end) {
  constexpr int kRows = 32;  // whole tiles; their logits are no more than the weights
  const int chunk_count = VocabChunks(args.head.n);
  alignas(64) float raw[kRows][kVocabChunk];
  VocabRow<V> row;
  for (int c = chunk_begin; c < chunk_end; ++c) {
    const int start = c * kVocabChunk;
    const int tokens = args.head.n - start < kVocabChunk ? args.head.n - start : kVocabChunk;
    for (int first = 0; first < args.m; first += kRows) {
      const int rows = args.m - first < kRows ? args.m - first : kRows;
      MatmulFp32<V>(
          {.x = args.x + first * args.x_stride,
           .x_stride = args.x_stride,
           .w = {args.head.panels.From(int64_t{start} * args.head.k), tokens, args.head.k},
           .y = raw[0],
           .y_stride = kVocabChunk,
           .m = rows,
           .next = c + 1 < chunk_end
                       ? args.head.panels.From(int64_t{start + kVocabChunk} * args.head.k)
                       : Panels()});
      for (int r = 0; r < rows; ++r) {
        const float temperature = args.temperatures[first + r];
        args.chunks[int64_t{first + r} * chunk_count + c] =
            row.Fill(raw[r], tokens, temperature == 0 ? 1.0f : 1.0f / temperature);
      }
    }
  }
}

template <class V>
void DrawTokensFp32(const SampleHeadArgs& args) {
  const int chunk_count = VocabChunks(args.head.n);
  VocabRow<V> row;
  for (int m = 0; m < args.m; ++m) {
    DrawToken<V>(args, m, args.chunks + int64_t{m} * chunk_count, chunk_count, false, &row);
  }
}

}  // namespace r1::kernels
