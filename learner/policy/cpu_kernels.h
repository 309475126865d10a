// The learner's own CPU mathematics: matrix products for its shapes, attention over packed
// sequences, and what LibTorch does in several passes over memory. fp32, one
// thread a call, no allocation; the same inputs give the same bits. Torch-free.
//
// Shape letters: T tokens, H heads, E experts, A experts a token, V vocabulary. Matrices are
// row-major; a `stride` is the distance between rows in elements.
#pragma once

#include <cstdint>

namespace r1::kernels {
enum class IsaName;
}

namespace r1::learner {

// y = x / sqrt(mean(x^2) + eps) * weight over `width` columns of rows that lie x_stride apart.
struct RmsNormArgs {
  int64_t rows = 0;
  int64_t width = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;
  const float* weight = nullptr;
  float eps = 0;
  float* inverse_rms = nullptr;  // [rows]; written by forward, read by backward
};

// out = row_weight * silu(gate) * up, contiguous [rows, width].
struct SwiGluArgs {
  int64_t rows = 0;
  int64_t width = 0;
  const float* gate = nullptr;
  const float* up = nullptr;
  const float* row_weight = nullptr;  // [rows]; null = 1
};

struct SwiGluGradient {
  const float* dout = nullptr;
  float* out = nullptr;  // the forward's result again, so that nobody keeps it
  float* dgate = nullptr;
  float* dup = nullptr;
  float* drow_weight = nullptr;  // [rows]; null when row_weight is
};

// What heads read from a tensor: that of head h at token t begins at data + t * token + h * head.
struct HeadRows {
  const float* data = nullptr;
  int64_t token = 0;
  int64_t head = 0;
  int64_t Offset(int64_t t, int64_t h) const { return t * token + h * head; }
};

// Causal attention of packed sequences. Head h of token t has
//   query [nope | rope]  q[t, h * (nope + rope) ...], rope part not yet rotated
//   key   nope part      row h / heads_per_key of `key`
//         rope part      row h / heads_per_rotary of `rotary`, not yet rotated
//   value                row h / heads_per_key of `value_rows`
// Latent attention shares one rotary key among all heads; grouped-query attention has rotated keys
// only (nope = 0), and shares them and the values within each group.
struct AttentionArgs {
  int heads = 0;
  int heads_per_key = 1;
  int heads_per_rotary = 1;  // a multiple of heads_per_key
  int nope = 0;
  int rope = 0;
  int value = 0;
  bool interleaved = true;     // rotation pairs (2i, 2i+1) or (i, i + rope/2)
  float scale = 0;             // of the softmax
  const float* cos = nullptr;  // [positions, rope / 2]
  const float* sin = nullptr;
  const int32_t* positions = nullptr;  // [T]
  const int32_t* starts = nullptr;     // [sequences + 1]
  int64_t sequences = 0;
  int64_t tokens = 0;
  const float* q = nullptr;
  HeadRows key = {};
  HeadRows rotary = {};
  HeadRows value_rows = {};
  float* out = nullptr;  // [T, H * value]
  // Of each row's softmax, for the backward pass: the largest score and 1 / the sum of e^(score -
  // it).
  float* score_max = nullptr;    // [H, T]
  float* inverse_sum = nullptr;  // [H, T]
  int64_t longest = 0;           // tokens of the longest sequence
  float* scratch = nullptr;      // AttentionScratch::Floats of them
};

// Written at the places of what they are the gradients of.
struct AttentionGradient {
  const float* dout = nullptr;
  float* dq = nullptr;
  float* dkey = nullptr;
  float* drotary = nullptr;
  float* dvalue = nullptr;
};

// Where each matrix of the attention kernel lies in its scratch memory: one head of one sequence at
// a time, tokens and channels rounded up to whole blocks.
struct AttentionScratch {
  static constexpr int64_t kBlock = 16;
  static int64_t Round(int64_t count);
  static int64_t Floats(const AttentionArgs& args, bool with_gradient);

  AttentionScratch(const AttentionArgs& args, bool with_gradient);

  int64_t channels, values;            // C and U: nope + rope and value, rounded
  float *rotary, *drotary;             // [L, rope]
  float *q, *k, *dq, *dk;              // [L, C]
  float *v, *dout, *dv;                // [L, U]
  float *k_transposed, *v_transposed;  // [C, L], [U, L]
  float *scores, *dscores;             // [kBlock, L]
  float* product;                      // [kBlock, U]
  int64_t floats;                      // all of them
};

// log softmax(logits / temperature) at one target a row.
struct LogSoftmaxArgs {
  int64_t rows = 0;
  int64_t vocab = 0;
  float inverse_temperature = 1;
  const int32_t* targets = nullptr;  // [rows]
};

// c = initial + a b. Element (i, k) of a is a[i * a_row + k * a_column]; of b it is b[k * b_row +
// j], or b[j * b_row + k] when transposed. `initial` is null for zero and may be c itself; depth is
// at least 1.
struct GemmArgs {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t depth = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  int64_t a_column = 1;
  const float* b = nullptr;
  int64_t b_row = 0;
  bool b_transposed = false;
  const float* initial = nullptr;
  int64_t initial_row = 0;
  float* c = nullptr;
  int64_t c_row = 0;
};

// The functions of one instruction set.
struct CpuKernels {
  void (*gemm)(const GemmArgs& args);
  void (*rms_norm_forward)(const RmsNormArgs& args, float* y);
  // dx [rows, x_stride] = initial + the norm's own part, which is 0 behind `width`; initial may be
  // null. dweight [width] is added to.
  void (*rms_norm_backward)(const RmsNormArgs& args, const float* dy, const float* initial,
                            float* dx, float* dweight);
  void (*swiglu_forward)(const SwiGluArgs& args, float* out);
  void (*swiglu_backward)(const SwiGluArgs& args, const SwiGluGradient& gradient);
  void (*attention_forward)(const AttentionArgs& args);
  void (*attention_backward)(const AttentionArgs& args, const AttentionGradient& gradient);
  void (*sigmoid)(int64_t count, float* values);                // in place
  void (*softmax)(int64_t rows, int64_t width, float* values);  // of each row, in place
  // entropy may be null.
  void (*log_softmax_forward)(const LogSoftmaxArgs& args, const float* logits, float* logprob,
                              float* log_sum_exp, float* entropy);
  // In place: logits become their gradient.
  void (*log_softmax_backward)(const LogSoftmaxArgs& args, const float* log_sum_exp,
                               const float* dlogprob, float* logits);
  // out[t] = base[t] + sum over j of source[places[t * per_row + j]], in that order; base may be
  // null.
  void (*sum_rows)(int64_t rows, int64_t width, int per_row, const int32_t* places,
                   const float* source, const float* base, float* out);
};

// The machine must be able to run `isa` (kernels/isa.h); its "reference" is the compiler's base
// line here.
const CpuKernels& CpuKernelsFor(kernels::IsaName isa);

}  // namespace r1::learner
