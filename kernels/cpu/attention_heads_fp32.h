// Attention of query heads over a paged cache, on the vectors of simd_*.h: the middle of
// mla_decode.h and gqa_decode.h, with the rounding that both state. Heads go in fours and tokens go
// in fours: a vector holds 4 heads × 4 tokens, head h in its quad of lanes 4h … 4h + 3, and a
// number per head fills its quad.
#pragma once

#include <cstdint>

#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/paged_cache.h"

namespace r1::kernels {

// The keys and values of one query row: tokens [0, context) of a paged cache.
struct AttentionContext {
  PagedCache cache;
  const int32_t* block_table;
  int tokens;
  int row_width;  // floats of a cache row that are read
  int key_width;  // channels of a key
  int value_width;
  float scale;
};

// Up to four heads with the same keys and values. Queries of missing heads repeat the last one's.
struct HeadQuad {
  int head_count;
  int keys;  // where a token's keys and values begin in its cache row
  int values;
  const float* q[4];
  float* out[4];
};

// Quads that go through a segment together.
inline constexpr int kQuadsMax = 8;

inline constexpr int kTokensAhead = 8;  // tokens from the scored ones to those asked for

// One segment of the context.
template <class V>
struct AttentionSegment {
  using F = typename V::F;

  int tokens;
  int row_width;
  // Cache rows of the tokens; the last one is repeated to fill up its four.
  const float* rows[kAttentionSegmentTokens];
  // Of each quad; then e^(score - maximum).
  alignas(64) float scores[kQuadsMax][kAttentionSegmentTokens / 4][16];

  void Locate(const AttentionContext& context, int first_token, int token_count) {
    const PagedCache& cache = context.cache;
    tokens = token_count;
    row_width = context.row_width;
    int block = first_token / cache.block_tokens;
    int offset = first_token % cache.block_tokens;
    for (int t = 0; t < token_count;) {
      const float* row = cache.blocks + context.block_table[block] * cache.block_stride +
                         int64_t{offset} * cache.width;
      for (; t < token_count && offset < cache.block_tokens; ++t, ++offset, row += cache.width)
        rows[t] = row;
      offset = 0;
      ++block;
    }
    for (int t = token_count; t % 4 != 0; ++t) rows[t] = rows[token_count - 1];
  }

  // Asks for the cache row of a token, if the segment has it: line by line into the second-level
  // cache, from where the processor goes on. Inlined, or the compiler takes the call for one
  // without effect.
  [[gnu::always_inline]] void Prefetch(int token) const {
    constexpr int kLine = 16;  // floats
    if (token >= tokens) return;
    for (int c = 0; c < row_width; c += kLine) __builtin_prefetch(rows[token] + c, 0, kSecondLevel);
  }

  // products[h + 4 * t] = Σ q[h] * token t, by lanes, for kHeads heads and the four tokens from
  // `first`, whose keys begin at `keys`.
  template <int kHeads>
  [[gnu::always_inline]] void Products(const float* const* q, int first, int keys, int width,
                                       F* products) const {
    F sums[4][kHeads];
    const float* key[4] = {rows[first] + keys, rows[first + 1] + keys, rows[first + 2] + keys,
                           rows[first + 3] + keys};
    const float* query[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) query[h] = q[h];
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) sums[t][h] = V::Zero();
    }
    int c = 0;
    for (; c + 16 <= width; c += 16) {
      F queries[kHeads];
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) queries[h] = V::Load(query[h] + c);
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) {
        const F channels = V::Load(key[t] + c);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) sums[t][h] = V::MulAdd(queries[h], channels, sums[t][h]);
      }
    }
    if (c < width) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) {
        const F channels = V::LoadFirst(key[t] + c, width - c);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
          sums[t][h] = V::MulAdd(V::LoadFirst(query[h] + c, width - c), channels, sums[t][h]);
        }
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) products[h + 4 * t] = sums[t][h];
    }
  }

  // Fills the scores of all quads; the maximum of each head. Token by token, with keys and values
  // asked for in the order in which they lie in memory: a key head alone reads pieces of rows, too
  // short for the processor to see what comes.
  void Score(const HeadQuad* quads, int quad_count, int width, float scale, F* maxima) {
    const F scales = V::Set1(scale);
    for (int i = 0; i < quad_count; ++i) maxima[i] = V::Set1(-__builtin_inff());
    for (int first = 0; first < tokens; first += 4) {
      for (int i = 0; i < quad_count; ++i) {
        for (int t = i; t < 4; t += quad_count) Prefetch(first + kTokensAhead + t);
        F products[16];
#pragma GCC unroll 4
        for (int h = 0; h < 4; h += V::kScoreHeads) {
          Products<V::kScoreHeads>(quads[i].q + h, first, quads[i].keys, width, products + h);
        }
        const F score = V::Mul(V::ReduceAdd16(products), scales);
        V::Store(scores[i][first / 4], score);
        maxima[i] = V::Max(maxima[i], score);  // repeated tokens do not change it
      }
    }
    for (int i = 0; i < quad_count; ++i) maxima[i] = V::MaxInQuads(maxima[i]);
  }

  // Replaces a quad's scores by e^(score - maximum); their sums.
  F Exponentials(int quad, F maximum) {
    F sum = V::Zero();
    for (int first = 0; first < tokens; first += 4) {
      float* const four = scores[quad][first / 4];
      F weight = Exp<V>(V::Sub(V::Load(four), maximum));
      if (first + 4 > tokens)
        weight = V::Select(V::FirstOfQuads(tokens - first), weight, V::Zero());
      V::Store(four, weight);
      sum = V::Add(sum, weight);
    }
    return V::AddInQuads(sum);
  }

  // sums[h][v] = Σ over tokens of the quad's weight[h] * channels [channel + 16 v, channel + 16 v +
  // 16) of the token's row.
  template <int kVectors>
  [[gnu::always_inline]] void WeightedSums(int quad, int channel, int lanes_of_last,
                                           F (&sums)[4][kVectors]) const {
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[h][v] = V::Zero();
    }
    for (int t = 0; t < tokens; ++t) {
      const float* weights = scores[quad][t / 4] + t % 4;
      F values[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const float* value = rows[t] + channel + 16 * v;
        values[v] = v + 1 < kVectors || lanes_of_last == 16 ? V::Load(value)
                                                            : V::LoadFirst(value, lanes_of_last);
      }
#pragma GCC unroll 4
      for (int h = 0; h < 4; ++h) {
        const F weight = V::Set1(weights[4 * h]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[h][v] = V::MulAdd(weight, values[v], sums[h][v]);
      }
    }
  }
};

// How a segment's sums enter the result: out = out * before + sum * now, numbers per head.
template <class V>
struct SegmentMerge {
  bool first;
  typename V::F before;
  typename V::F now;
};

template <class V, int kVectors>
void MergeChannels(const AttentionSegment<V>& segment, const SegmentMerge<V>& merge,
                   const HeadQuad& quad, int index, int channel, int lanes_of_last) {
  using F = typename V::F;
  F sums[4][kVectors];
  segment.template WeightedSums<kVectors>(index, quad.values + channel, lanes_of_last, sums);
  const F now[4] = {V::template Quad<0>(merge.now), V::template Quad<1>(merge.now),
                    V::template Quad<2>(merge.now), V::template Quad<3>(merge.now)};
  const F before[4] = {V::template Quad<0>(merge.before), V::template Quad<1>(merge.before),
                       V::template Quad<2>(merge.before), V::template Quad<3>(merge.before)};
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
    if (h >= quad.head_count) break;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* target = quad.out[h] + channel + 16 * v;
      const int lanes = v + 1 < kVectors ? 16 : lanes_of_last;
      F value = V::Mul(sums[h][v], now[h]);
      if (!merge.first) value = V::MulAdd(V::LoadFirst(target, lanes), before[h], value);
      V::StoreFirst(target, value, lanes);
    }
  }
}

template <class V>
void MergeSegment(const AttentionSegment<V>& segment, const SegmentMerge<V>& merge,
                  const HeadQuad& quad, int index, int value_width) {
  int channel = 0;
  for (; channel + 16 * V::kSumVectors <= value_width; channel += 16 * V::kSumVectors) {
    MergeChannels<V, V::kSumVectors>(segment, merge, quad, index, channel, 16);
  }
  if constexpr (V::kSumVectors > 2) {
    for (; channel + 32 <= value_width; channel += 32) {
      MergeChannels<V, 2>(segment, merge, quad, index, channel, 16);
    }
  }
  for (; channel < value_width; channel += 16) {
    const int lanes = value_width - channel < 16 ? value_width - channel : 16;
    MergeChannels<V, 1>(segment, merge, quad, index, channel, lanes);
  }
}

// out[h] = Σ softmax(scores of q[h]) * values, for the heads of at most kQuadsMax quads.
template <class V>
void AttendHeads(const AttentionContext& context, const HeadQuad* quads, int quad_count) {
  using F = typename V::F;
  AttentionSegment<V> segment;
  F segment_maxima[kQuadsMax];
  F maxima[kQuadsMax];
  F sums[kQuadsMax];
  for (int first = 0; first < context.tokens; first += kAttentionSegmentTokens) {
    const bool last = context.tokens - first <= kAttentionSegmentTokens;
    segment.Locate(context, first, last ? context.tokens - first : kAttentionSegmentTokens);
    segment.Score(quads, quad_count, context.key_width, context.scale, segment_maxima);
    for (int i = 0; i < quad_count; ++i) {
      const F segment_sum = segment.Exponentials(i, segment_maxima[i]);
      // Bring what was summed before and this segment under their common maximum; in the end divide
      // by the sum.
      SegmentMerge<V> merge = {first == 0, V::Zero(), V::Set1(1.0f)};
      if (first == 0) {
        maxima[i] = segment_maxima[i];
        sums[i] = segment_sum;
      } else {
        const F common = V::Max(maxima[i], segment_maxima[i]);
        merge.before = Exp<V>(V::Sub(maxima[i], common));
        merge.now = Exp<V>(V::Sub(segment_maxima[i], common));
        sums[i] = V::MulAdd(segment_sum, merge.now, V::Mul(sums[i], merge.before));
        maxima[i] = common;
      }
      if (last) {
        const F inverse = V::Div(V::Set1(1.0f), sums[i]);
        merge.before = V::Mul(merge.before, inverse);
        merge.now = V::Mul(merge.now, inverse);
      }
      MergeSegment(segment, merge, quads[i], i, context.value_width);
    }
  }
}

// The same for any number of quads, which quad_at(i) describes.
template <class V, class QuadAt>
void AttendQuads(const AttentionContext& context, int quad_count, const QuadAt& quad_at) {
  HeadQuad quads[kQuadsMax];
  for (int first = 0; first < quad_count; first += kQuadsMax) {
    const int count = quad_count - first < kQuadsMax ? quad_count - first : kQuadsMax;
    for (int i = 0; i < count; ++i) quads[i] = quad_at(first + i);
    AttendHeads<V>(context, quads, count);
  }
}

}  // namespace r1::kernels
