// Causal attention over packed sequences, forward and backward (see AttentionArgs). Included once
// by each cpu_kernels_<isa>.cc.
//
// One head of one sequence at a time is unpacked into small contiguous matrices (queries rotated
// and scaled, keys rotated, both also transposed where lanes run over tokens), padded to whole
// blocks of tokens; keys and values stay for the heads that share them. Then, for every block of
// query rows, all keys up to the block's last row: scores, softmax and the products, each a small
// matrix product whose tiles stay in registers. The backward pass computes the probabilities again
// from the log-sum-exp of each row. Work above the diagonal is at most one block wide; memory is
// linear in the sequence length.
//
// Shape letters: L tokens of the sequence, padded to whole blocks; C query and key channels, U
// value channels, both padded.
#pragma once

#include <algorithm>

#include "learner/policy/cpu_kernels.h"
#include "learner/policy/gemm.h"
#include "learner/policy/simd.h"

namespace r1::learner::R1_SIMD_NAMESPACE {

constexpr int64_t kBlock = AttentionScratch::kBlock;
static_assert(kBlock % kLanes == 0);

// c[rows, columns] (+)= a[rows, depth] b[depth, columns]. Columns are a multiple of kLanes.
struct Product {
  MatrixView a;
  const float* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  int64_t rows;
  int64_t columns;
  int64_t depth;
  bool accumulate = false;
};

inline void Multiply(const Product& p) {
  for (int64_t column = 0; column < p.columns; column += kPanel) {
    const PanelProduct panel{.a = p.a,
                             .b = p.b + column,
                             .b_row = p.b_row,
                             .depth = p.depth,
                             .initial = p.accumulate ? p.c + column : nullptr,
                             .initial_row = p.c_row,
                             .c = p.c + column,
                             .c_row = p.c_row,
                             .columns = std::min(kPanel, p.columns - column)};
    for (int64_t row = 0; row < p.rows; row += kTileRows) {
      MultiplyRows(panel, row, std::min<int64_t>(kTileRows, p.rows - row));
    }
  }
}

// target[channel, t] = source[t, channel] for whole blocks of both.
inline void Transpose(const float* source, int64_t tokens, int64_t channels, float* target) {
  for (int64_t t = 0; t < tokens; t += kLanes) {
    for (int64_t c = 0; c < channels; c += kLanes) {
      TransposeBlock(source + t * channels + c, channels, target + c * tokens + t, tokens);
    }
  }
}

// target = source * factor.
inline void CopyScaled(int64_t count, float factor, const float* source, float* target) {
  ForEachVec(count, [&](int64_t i, int64_t lanes) {
    Store(target + i, Load(source + i, lanes) * Set(factor), lanes);
  });
}

// Rotates the rope channels by the angles of a position and scales them. In the target pairs are
// (i, i + rope / 2) always: scores do not depend on the order of channels as long as queries and
// keys share it.
inline void Rotate(const AttentionArgs& args, int64_t token, float factor,
                   const float* __restrict source, float* __restrict target) {
  const int half = args.rope / 2;
  const float* __restrict cos = args.cos + int64_t{args.positions[token]} * half;
  const float* __restrict sin = args.sin + int64_t{args.positions[token]} * half;
  if (args.interleaved) {
    for (int i = 0; i < half; ++i) {
      const float x = source[2 * i] * factor, y = source[2 * i + 1] * factor;
      target[i] = x * cos[i] - y * sin[i];
      target[i + half] = x * sin[i] + y * cos[i];
    }
  } else {
    for (int i = 0; i < half; ++i) {
      const float x = source[i] * factor, y = source[i + half] * factor;
      target[i] = x * cos[i] - y * sin[i];
      target[i + half] = x * sin[i] + y * cos[i];
    }
  }
}

// The way back, for gradients: rotates by the negative angles and restores the order of channels.
inline void RotateBack(const AttentionArgs& args, int64_t token, float factor,
                       const float* __restrict source, float* __restrict target) {
  const int half = args.rope / 2;
  const float* __restrict cos = args.cos + int64_t{args.positions[token]} * half;
  const float* __restrict sin = args.sin + int64_t{args.positions[token]} * half;
  if (args.interleaved) {
    for (int i = 0; i < half; ++i) {
      const float x = source[i] * factor, y = source[i + half] * factor;
      target[2 * i] = x * cos[i] + y * sin[i];
      target[2 * i + 1] = y * cos[i] - x * sin[i];
    }
  } else {
    for (int i = 0; i < half; ++i) {
      const float x = source[i] * factor, y = source[i + half] * factor;
      target[i] = x * cos[i] + y * sin[i];
      target[i + half] = y * cos[i] - x * sin[i];
    }
  }
}

// Lanes of keys [key, key + kLanes) that query row `row` may see.
inline IntVec Visible(int64_t row, int64_t key) {
  return LaneIndices() <= static_cast<int32_t>(row - key);
}

// Attention of one head of one sequence after another, in the caller's scratch memory.
class HeadAttention {
 public:
  HeadAttention(const AttentionArgs& args, bool with_gradient)
      : args_(args),
        s_(args, with_gradient),
        channels_(args.nope + args.rope),
        C_(s_.channels),
        U_(s_.values) {}

  // The padding, which no head changes.
  void BeginSequence(int64_t sequence) {
    start_ = args_.starts[sequence];
    length_ = args_.starts[sequence + 1] - start_;
    padded_ = AttentionScratch::Round(length_);
    Clear(s_.q, C_, channels_);
    Clear(s_.k, C_, channels_);
    Clear(s_.v, U_, args_.value);
  }

  // Fills q, k and v of one head. Heads come in order.
  void LoadHead(int head) {
    head_ = head;
    if (BeginsGroup(args_.heads_per_rotary)) RotateKeys();
    if (BeginsGroup(args_.heads_per_key)) LoadKeys();
    for (int64_t t = 0; t < length_; ++t) {
      const float* q = args_.q + QOffset(t);
      float* q_row = s_.q + t * C_;
      CopyScaled(args_.nope, args_.scale, q, q_row);
      Rotate(args_, start_ + t, args_.scale, q + args_.nope, q_row + args_.nope);
    }
  }

  void Forward() {
    for (int64_t first = 0; first < length_; first += kBlock) {
      const int64_t rows = std::min(kBlock, length_ - first);
      const int64_t keys = first + rows, keys_padded = first + kBlock;
      Multiply({.a = {s_.q + first * C_, C_, 1},
                .b = s_.k_transposed,
                .b_row = padded_,
                .c = s_.scores,
                .c_row = keys_padded,
                .rows = rows,
                .columns = keys_padded,
                .depth = channels_});
      float inverse_sums[kBlock];
      for (int64_t i = 0; i < rows; ++i) {
        inverse_sums[i] = SoftmaxRow(s_.scores + i * keys_padded, keys_padded, first + i);
      }
      Multiply({.a = {s_.scores, keys_padded, 1},
                .b = s_.v,
                .b_row = U_,
                .c = s_.product,
                .c_row = U_,
                .rows = rows,
                .columns = U_,
                .depth = keys});
      for (int64_t i = 0; i < rows; ++i) {
        CopyScaled(args_.value, inverse_sums[i], s_.product + i * U_,
                   args_.out + OutOffset(first + i));
      }
    }
  }

  // The gradient of this head's queries, and at the last head of a group those of its keys.
  void Backward(const AttentionGradient& gradient) {
    if (head_ == 0) Clear(s_.dout, U_, args_.value);
    if (BeginsGroup(args_.heads_per_rotary)) std::fill_n(s_.drotary, length_ * args_.rope, 0.0f);
    if (BeginsGroup(args_.heads_per_key)) {
      std::fill_n(s_.dk, padded_ * C_, 0.0f);
      std::fill_n(s_.dv, padded_ * U_, 0.0f);
      Transpose(s_.v, padded_, U_, s_.v_transposed);
    }
    for (int64_t t = 0; t < length_; ++t) {
      CopyScaled(args_.value, 1, gradient.dout + OutOffset(t), s_.dout + t * U_);
    }
    for (int64_t first = 0; first < length_; first += kBlock) BackwardBlock(first);
    StoreQueryGradient(gradient);
    if (EndsGroup(args_.heads_per_key)) StoreKeyGradient(gradient);
    if (EndsGroup(args_.heads_per_rotary)) StoreRotaryGradient(gradient);
  }

 private:
  // Zeros the rows behind the sequence and the columns behind `used` of a padded matrix.
  void Clear(float* matrix, int64_t columns, int64_t used) {
    for (int64_t t = 0; t < padded_; ++t) {
      const int64_t first = t < length_ ? used : 0;
      std::fill(matrix + t * columns + first, matrix + (t + 1) * columns, 0.0f);
    }
  }
  int64_t RowIndex(int64_t row) const { return head_ * args_.tokens + start_ + row; }
  int64_t QOffset(int64_t t) const { return ((start_ + t) * args_.heads + head_) * channels_; }
  int64_t OutOffset(int64_t t) const { return ((start_ + t) * args_.heads + head_) * args_.value; }
  int64_t KeyOffset(int64_t t) const {
    return args_.key.Offset(start_ + t, head_ / args_.heads_per_key);
  }
  int64_t ValueOffset(int64_t t) const {
    return args_.value_rows.Offset(start_ + t, head_ / args_.heads_per_key);
  }
  int64_t RotaryOffset(int64_t t) const {
    return args_.rotary.Offset(start_ + t, head_ / args_.heads_per_rotary);
  }
  bool BeginsGroup(int heads) const { return head_ % heads == 0; }
  bool EndsGroup(int heads) const { return (head_ + 1) % heads == 0; }

  void RotateKeys() {
    for (int64_t t = 0; t < length_; ++t) {
      Rotate(args_, start_ + t, 1, args_.rotary.data + RotaryOffset(t), s_.rotary + t * args_.rope);
    }
  }

  void LoadKeys() {
    for (int64_t t = 0; t < length_; ++t) {
      float* k_row = s_.k + t * C_;
      CopyScaled(args_.nope, 1, args_.key.data + KeyOffset(t), k_row);
      CopyScaled(args_.rope, 1, s_.rotary + t * args_.rope, k_row + args_.nope);
      CopyScaled(args_.value, 1, args_.value_rows.data + ValueOffset(t), s_.v + t * U_);
    }
    Transpose(s_.k, padded_, C_, s_.k_transposed);
  }

  // Scores of query row `row` become e^(score - max), and 0 for keys behind it. Returns 1 / sum.
  float SoftmaxRow(float* scores, int64_t keys, int64_t row) {
    Vec largest = Set(scores[0]);
    for (int64_t j = 0; j <= row; j += kLanes) {
      largest = Max(largest, Visible(row, j) ? Load(scores + j) : largest);
    }
    const float top = MaxLanes(largest);
    Vec sum{};
    for (int64_t j = 0; j < keys; j += kLanes) {
      const Vec power = Visible(row, j) ? Exp(Load(scores + j) - Set(top)) : Vec{};
      sum += power;
      Store(scores + j, power);
    }
    const float total = SumLanes(sum);
    args_.score_max[RowIndex(row)] = top;
    return args_.inverse_sum[RowIndex(row)] = 1.0f / total;
  }

  // One block of query rows: P = softmax(S), dP = dO V', dS = P (dP - dO.O), where ' transposes;
  // then the three products dQ = dS K, dK += dS' Q, dV += P' dO.
  void BackwardBlock(int64_t first) {
    const int64_t rows = std::min(kBlock, length_ - first);
    const int64_t keys = first + rows, keys_padded = first + kBlock;
    const float* q = s_.q + first * C_;
    const float* dout = s_.dout + first * U_;
    Multiply({.a = {q, C_, 1},
              .b = s_.k_transposed,
              .b_row = padded_,
              .c = s_.scores,
              .c_row = keys_padded,
              .rows = rows,
              .columns = keys_padded,
              .depth = channels_});
    Multiply({.a = {dout, U_, 1},
              .b = s_.v_transposed,
              .b_row = padded_,
              .c = s_.dscores,
              .c_row = keys_padded,
              .rows = rows,
              .columns = keys_padded,
              .depth = args_.value});
    for (int64_t i = 0; i < rows; ++i) {
      ScoreGradientRow(first + i, keys_padded, dout + i * U_, s_.scores + i * keys_padded,
                       s_.dscores + i * keys_padded);
    }
    Multiply({.a = {s_.dscores, keys_padded, 1},
              .b = s_.k,
              .b_row = C_,
              .c = s_.dq + first * C_,
              .c_row = C_,
              .rows = rows,
              .columns = C_,
              .depth = keys});
    Multiply({.a = {s_.dscores, 1, keys_padded},
              .b = q,
              .b_row = C_,
              .c = s_.dk,
              .c_row = C_,
              .rows = keys,
              .columns = C_,
              .depth = rows,
              .accumulate = true});
    Multiply({.a = {s_.scores, 1, keys_padded},
              .b = dout,
              .b_row = U_,
              .c = s_.dv,
              .c_row = U_,
              .rows = keys,
              .columns = U_,
              .depth = rows,
              .accumulate = true});
  }

  // scores: S becomes P. dscores: dP becomes dS.
  void ScoreGradientRow(int64_t row, int64_t keys, const float* dout, float* scores,
                        float* dscores) {
    const float* out = args_.out + OutOffset(row);
    Vec products{};
    ForEachVec(args_.value, [&](int64_t c, int64_t lanes) {
      products = Fma(Load(out + c, lanes), Load(dout + c, lanes), products);
    });
    const Vec dot = Set(SumLanes(products));
    const Vec top = Set(args_.score_max[RowIndex(row)]);
    const Vec inverse_sum = Set(args_.inverse_sum[RowIndex(row)]);
    for (int64_t j = 0; j < keys; j += kLanes) {
      const Vec probability = Visible(row, j) ? Exp(Load(scores + j) - top) * inverse_sum : Vec{};
      Store(scores + j, probability);
      Store(dscores + j, probability * (Load(dscores + j) - dot));
    }
  }

  // q was scaled on loading, so its gradient is scaled here; dk holds the factor already.
  void StoreQueryGradient(const AttentionGradient& gradient) {
    for (int64_t t = 0; t < length_; ++t) {
      float* dq = gradient.dq + QOffset(t);
      const float* dq_row = s_.dq + t * C_;
      CopyScaled(args_.nope, args_.scale, dq_row, dq);
      RotateBack(args_, start_ + t, args_.scale, dq_row + args_.nope, dq + args_.nope);
    }
  }

  // The rotary part is collected for the heads that share it.
  void StoreKeyGradient(const AttentionGradient& gradient) {
    for (int64_t t = 0; t < length_; ++t) {
      const float* dk_row = s_.dk + t * C_;
      float* drotary = s_.drotary + t * args_.rope;
      CopyScaled(args_.nope, 1, dk_row, gradient.dkey + KeyOffset(t));
      CopyScaled(args_.value, 1, s_.dv + t * U_, gradient.dvalue + ValueOffset(t));
      ForEachVec(args_.rope, [&](int64_t i, int64_t lanes) {
        Store(drotary + i, Load(drotary + i, lanes) + Load(dk_row + args_.nope + i, lanes), lanes);
      });
    }
  }

  void StoreRotaryGradient(const AttentionGradient& gradient) {
    for (int64_t t = 0; t < length_; ++t) {
      RotateBack(args_, start_ + t, 1, s_.drotary + t * args_.rope,
                 gradient.drotary + RotaryOffset(t));
    }
  }

  const AttentionArgs& args_;
  const AttentionScratch s_;
  const int channels_;
  const int64_t C_, U_;
  int64_t start_ = 0, length_ = 0, padded_ = 0;
  int head_ = 0;
};

inline void AttentionForward(const AttentionArgs& args) {
  HeadAttention attention(args, false);
  for (int64_t sequence = 0; sequence < args.sequences; ++sequence) {
    attention.BeginSequence(sequence);
    for (int head = 0; head < args.heads; ++head) {
      attention.LoadHead(head);
      attention.Forward();
    }
  }
}

inline void AttentionBackward(const AttentionArgs& args, const AttentionGradient& gradient) {
  HeadAttention attention(args, true);
  for (int64_t sequence = 0; sequence < args.sequences; ++sequence) {
    attention.BeginSequence(sequence);
    for (int head = 0; head < args.heads; ++head) {
      attention.LoadHead(head);
      attention.Backward(gradient);
    }
  }
}

}  // namespace r1::learner::R1_SIMD_NAMESPACE
