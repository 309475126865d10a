// mla_decode.h on the vectors of simd_*.h. Heads go in fours and tokens go in fours: a vector holds
// 4 heads × 4 tokens, head h in its quad of lanes 4h … 4h + 3, and a number per head fills its
// quad.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd_math.h"
#include "kernels/mla_decode.h"

namespace r1::kernels {

// One segment of one row's context, for four heads.
template <class V>
struct MlaSegment {
  using F = typename V::F;

  int tokens;
  // Cache rows of the tokens; the last one is repeated to fill up its four.
  const float* rows[kMlaSegmentTokens];
  alignas(64) float scores[kMlaSegmentTokens / 4][16];  // then e^(score - maximum)

  void Locate(const LatentCache& cache, const int32_t* block_table, int first_token,
              int token_count) {
    tokens = token_count;
    int block = first_token / cache.block_tokens;
    int offset = first_token % cache.block_tokens;
    for (int t = 0; t < token_count;) {
      const float* row =
          cache.blocks + block_table[block] * cache.block_stride + int64_t{offset} * cache.width;
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

  // sums[h][v] = Σ over tokens of weight[h] * latent channels [channel + 16 v, channel + 16 v +
  // 16).
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
struct MlaMerge {
  bool first;
  typename V::F before;
  typename V::F now;
};

template <class V, int kVectors>
void MlaMergeChannels(const MlaSegment<V>& segment, const MlaMerge<V>& merge, int head_count,
                      int channel, int lanes_of_last, float* const* out) {
  using F = typename V::F;
  F sums[4][kVectors];
  segment.template WeightedSums<kVectors>(channel, lanes_of_last, sums);
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

// Up to four heads of one row: out[h] = Σ softmax(scores) * latent. Queries of missing heads
// repeat the last one's.
template <class V>
void MlaDecodeHeads(const MlaDecodeArgs& args, int row, int head_count, const float* const* q,
                    float* const* out) {
  using F = typename V::F;
  const int context = args.contexts[row];
  MlaSegment<V> segment;
  F maximum = V::Zero();
  F sum = V::Zero();
  for (int first = 0; first < context; first += kMlaSegmentTokens) {
    const bool last = context - first <= kMlaSegmentTokens;
    segment.Locate(args.cache, args.block_tables[row], first,
                   last ? context - first : kMlaSegmentTokens);
    const F segment_maximum = segment.Score(q, args.cache.width, args.scale);
    const F segment_sum = segment.Exponentials(segment_maximum);
    // Bring what was summed before and this segment under their common maximum; in the end divide
    // by the sum.
    MlaMerge<V> merge = {first == 0, V::Zero(), V::Set1(1.0f)};
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
    int channel = 0;
    for (; channel + 16 * V::kSumVectors <= args.latent; channel += 16 * V::kSumVectors) {
      MlaMergeChannels<V, V::kSumVectors>(segment, merge, head_count, channel, 16, out);
    }
    if constexpr (V::kSumVectors > 2) {
      for (; channel + 32 <= args.latent; channel += 32) {
        MlaMergeChannels<V, 2>(segment, merge, head_count, channel, 16, out);
      }
    }
    for (; channel < args.latent; channel += 16) {
      const int lanes = args.latent - channel < 16 ? args.latent - channel : 16;
      MlaMergeChannels<V, 1>(segment, merge, head_count, channel, lanes, out);
    }
  }
}

template <class V>
void MlaDecodeFp32(const MlaDecodeArgs& args) {
  for (int row = 0; row < args.row_count; ++row) {
    for (int head = 0; head < args.heads; head += 4) {
      const int head_count = args.heads - head < 4 ? args.heads - head : 4;
      const float* q[4];
      float* out[4];
      for (int h = 0; h < 4; ++h) {
        const int index = head + (h < head_count ? h : head_count - 1);
        q[h] = args.q + row * args.q_stride + index * args.cache.width;
        out[h] = args.out + row * args.out_stride + index * args.latent;
      }
      MlaDecodeHeads<V>(args, row, head_count, q, out);
    }
  }
}

}  // namespace r1::kernels
