// Attention of up to four query heads that share keys and values, on the vectors of simd_*.h: the
// middle of mla_decode.h and gqa_decode.h, with the rounding that both state. Heads go in fours and
// tokens go in fours: a vector holds 4 heads × 4 tokens, head h in its quad of lanes 4h … 4h + 3,
// and a number per head fills its quad.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd_math.h"
#include "kernels/paged_cache.h"

namespace r1::kernels {

// The keys and values of one query row: tokens [0, context) of a paged cache.
struct AttentionContext {
  PagedCache cache;  // `blocks` points at the keys of the first token of block 0
  const int32_t* block_table;
  int tokens;
  int key_width;     // channels of a key
  int value_offset;  // from a token's keys to its values
  int value_width;
  float scale;
};

// One segment of the context.
template <class V>
struct AttentionSegment {
  using F = typename V::F;

  int tokens;
  // Cache rows of the tokens; the last one is repeated to fill up its four.
  const float* rows[kAttentionSegmentTokens];
  alignas(64) float scores[kAttentionSegmentTokens / 4][16];  // then e^(score - maximum)

  void Locate(const AttentionContext& context, int first_token, int token_count) {
    const PagedCache& cache = context.cache;
    tokens = token_count;
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

  // products[h + 4 * t] = Σ q[h] * token t, by lanes, for kHeads heads and the four tokens from
  // `first`.
  template <int kHeads>
  [[gnu::always_inline]] void Products(const float* const* q, int first, int width,
                                       F* products) const {
    F sums[4][kHeads];
    const float* key[4] = {rows[first], rows[first + 1], rows[first + 2], rows[first + 3]};
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
        const F keys = V::Load(key[t] + c);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) sums[t][h] = V::MulAdd(queries[h], keys, sums[t][h]);
      }
    }
    if (c < width) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) {
        const F keys = V::LoadFirst(key[t] + c, width - c);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
          sums[t][h] = V::MulAdd(V::LoadFirst(query[h] + c, width - c), keys, sums[t][h]);
        }
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) products[h + 4 * t] = sums[t][h];
    }
  }

  // Fills the scores; the maximum of each head.
  F Score(const float* const* q, int width, float scale) {
    const F scales = V::Set1(scale);
    F highest = V::Set1(-__builtin_inff());
    for (int first = 0; first < tokens; first += 4) {
      F products[16];
#pragma GCC unroll 4
      for (int h = 0; h < 4; h += V::kScoreHeads) {
        Products<V::kScoreHeads>(q + h, first, width, products + h);
      }
      const F score = V::Mul(V::ReduceAdd16(products), scales);
      V::Store(scores[first / 4], score);
      highest = V::Max(highest, score);  // repeated tokens do not change it
    }
    return V::MaxInQuads(highest);
  }

  // Replaces scores by e^(score - maximum); their sums.
  F Exponentials(F maximum) {
    F sum = V::Zero();
    for (int first = 0; first < tokens; first += 4) {
      F weight = Exp<V>(V::Sub(V::Load(scores[first / 4]), maximum));
      if (first + 4 > tokens)
        weight = V::Select(V::FirstOfQuads(tokens - first), weight, V::Zero());
      V::Store(scores[first / 4], weight);
      sum = V::Add(sum, weight);
    }
    return V::AddInQuads(sum);
  }

  // sums[h][v] = Σ over tokens of weight[h] * channels [channel + 16 v, channel + 16 v + 16) of the
  // token's row.
  template <int kVectors>
  [[gnu::always_inline]] void WeightedSums(int channel, int lanes_of_last,
                                           F (&sums)[4][kVectors]) const {
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[h][v] = V::Zero();
    }
    for (int t = 0; t < tokens; ++t) {
      const float* weights = scores[t / 4] + t % 4;
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
void MergeChannels(const AttentionSegment<V>& segment, const SegmentMerge<V>& merge, int head_count,
                   int value_offset, int channel, int lanes_of_last, float* const* out) {
  using F = typename V::F;
  F sums[4][kVectors];
  segment.template WeightedSums<kVectors>(value_offset + channel, lanes_of_last, sums);
  const F now[4] = {V::template Quad<0>(merge.now), V::template Quad<1>(merge.now),
                    V::template Quad<2>(merge.now), V::template Quad<3>(merge.now)};
  const F before[4] = {V::template Quad<0>(merge.before), V::template Quad<1>(merge.before),
                       V::template Quad<2>(merge.before), V::template Quad<3>(merge.before)};
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
    if (h >= head_count) break;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* target = out[h] + channel + 16 * v;
      const int lanes = v + 1 < kVectors ? 16 : lanes_of_last;
      F value = V::Mul(sums[h][v], now[h]);
      if (!merge.first) value = V::MulAdd(V::LoadFirst(target, lanes), before[h], value);
      V::StoreFirst(target, value, lanes);
    }
  }
}

// out[h] = Σ softmax(scores of q[h]) * values, for `head_count` heads. Queries of missing heads
// repeat the last one's.
template <class V>
void AttendHeads(const AttentionContext& context, int head_count, const float* const* q,
                 float* const* out) {
  using F = typename V::F;
  AttentionSegment<V> segment;
  F maximum = V::Zero();
  F sum = V::Zero();
  for (int first = 0; first < context.tokens; first += kAttentionSegmentTokens) {
    const bool last = context.tokens - first <= kAttentionSegmentTokens;
    segment.Locate(context, first, last ? context.tokens - first : kAttentionSegmentTokens);
    const F segment_maximum = segment.Score(q, context.key_width, context.scale);
    const F segment_sum = segment.Exponentials(segment_maximum);
    // Bring what was summed before and this segment under their common maximum; in the end divide
    // by the sum.
    SegmentMerge<V> merge = {first == 0, V::Zero(), V::Set1(1.0f)};
    if (first == 0) {
      maximum = segment_maximum;
      sum = segment_sum;
    } else {
      const F common = V::Max(maximum, segment_maximum);
      merge.before = Exp<V>(V::Sub(maximum, common));
      merge.now = Exp<V>(V::Sub(segment_maximum, common));
      sum = V::MulAdd(segment_sum, merge.now, V::Mul(sum, merge.before));
      maximum = common;
    }
    if (last) {
      const F inverse = V::Div(V::Set1(1.0f), sum);
      merge.before = V::Mul(merge.before, inverse);
      merge.now = V::Mul(merge.now, inverse);
    }
    const int offset = context.value_offset;
    int channel = 0;
    for (; channel + 16 * V::kSumVectors <= context.value_width; channel += 16 * V::kSumVectors) {
      MergeChannels<V, V::kSumVectors>(segment, merge, head_count, offset, channel, 16, out);
    }
    if constexpr (V::kSumVectors > 2) {
      for (; channel + 32 <= context.value_width; channel += 32) {
        MergeChannels<V, 2>(segment, merge, head_count, offset, channel, 16, out);
      }
    }
    for (; channel < context.value_width; channel += 16) {
      const int lanes = context.value_width - channel < 16 ? context.value_width - channel : 16;
      MergeChannels<V, 1>(segment, merge, head_count, offset, channel, lanes, out);
    }
  }
}

}  // namespace r1::kernels
