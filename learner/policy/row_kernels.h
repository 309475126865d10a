// Bodies of the kernels that work row by row (see cpu_kernels.h). Included once by each
// cpu_kernels_<isa>.cc.
#pragma once

#include <cmath>

#include "learner/policy/cpu_kernels.h"
#include "learner/policy/simd.h"

namespace r1::learner::R1_SIMD_NAMESPACE {

inline void RmsNormForward(const RmsNormArgs& args, float* y) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* out = y + row * args.width;
    Vec squares{};
    ForEachVec(args.width, [&](int64_t i, int64_t lanes) {
      const Vec value = Load(x + i, lanes);
      squares = Fma(value, value, squares);
    });
    const float inverse =
        1.0f / std::sqrt(SumLanes(squares) / static_cast<float>(args.width) + args.eps);
    args.inverse_rms[row] = inverse;
    ForEachVec(args.width, [&](int64_t i, int64_t lanes) {
      Store(out + i, Load(x + i, lanes) * Set(inverse) * Load(args.weight + i, lanes), lanes);
    });
  }
}

// With n = x * inverse: dx = initial + inverse * (w dy - n * mean(w dy n)), dweight += dy n.
inline void RmsNormBackward(const RmsNormArgs& args, const float* dy, const float* initial,
                            float* dx, float* dweight) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    const float* gradient = dy + row * args.width;
    const float* start = initial == nullptr ? nullptr : initial + row * args.x_stride;
    float* out = dx + row * args.x_stride;
    const Vec inverse = Set(args.inverse_rms[row]);
    Vec products{};
    ForEachVec(args.width, [&](int64_t i, int64_t lanes) {
      const Vec normalized = Load(x + i, lanes) * inverse;
      const Vec dy_n = Load(gradient + i, lanes) * normalized;
      products = Fma(dy_n, Load(args.weight + i, lanes), products);
      Store(dweight + i, Load(dweight + i, lanes) + dy_n, lanes);
    });
    const Vec mean = Set(SumLanes(products) / static_cast<float>(args.width));
    ForEachVec(args.width, [&](int64_t i, int64_t lanes) {
      const Vec normalized = Load(x + i, lanes) * inverse;
      const Vec weighted = Load(gradient + i, lanes) * Load(args.weight + i, lanes);
      const Vec own = inverse * (weighted - normalized * mean);
      Store(out + i, start == nullptr ? own : Load(start + i, lanes) + own, lanes);
    });
    for (int64_t i = args.width; i < args.x_stride; ++i) out[i] = start == nullptr ? 0 : start[i];
  }
}

inline void SwiGluForward(const SwiGluArgs& args, float* out) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* gate = args.gate + row * args.width;
    const float* up = args.up + row * args.width;
    float* target = out + row * args.width;
    const Vec weight = Set(args.row_weight == nullptr ? 1.0f : args.row_weight[row]);
    ForEachVec(args.width, [&](int64_t i, int64_t lanes) {
      const Vec g = Load(gate + i, lanes);
      Store(target + i, weight * (g * Sigmoid(g)) * Load(up + i, lanes), lanes);
    });
  }
}

// silu'(g) = s + g s (1 - s) with s = sigmoid(g).
inline void SwiGluBackward(const SwiGluArgs& args, const SwiGluGradient& gradient) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const int64_t offset = row * args.width;
    const Vec weight = Set(args.row_weight == nullptr ? 1.0f : args.row_weight[row]);
    Vec dweight{};
    ForEachVec(args.width, [&](int64_t i, int64_t lanes) {
      const int64_t at = offset + i;
      const Vec g = Load(args.gate + at, lanes), u = Load(args.up + at, lanes),
                dout = Load(gradient.dout + at, lanes);
      const Vec s = Sigmoid(g);
      const Vec silu = g * s;
      const Vec product = silu * u;
      const Vec dproduct = dout * weight;
      dweight = Fma(dout, product, dweight);
      Store(gradient.out + at, weight * product, lanes);
      Store(gradient.dup + at, dproduct * silu, lanes);
      Store(gradient.dgate + at, dproduct * u * Fma(silu, Set(1.0f) - s, s), lanes);
    });
    if (gradient.drow_weight != nullptr) gradient.drow_weight[row] = SumLanes(dweight);
  }
}

inline void SigmoidInPlace(int64_t count, float* values) {
  ForEachVec(count, [&](int64_t i, int64_t lanes) {
    Store(values + i, Sigmoid(Load(values + i, lanes)), lanes);
  });
}

inline void SoftmaxInPlace(int64_t rows, int64_t width, float* values) {
  for (int64_t row = 0; row < rows; ++row) {
    float* z = values + row * width;
    float top = z[0];
    for (int64_t i = 1; i < width; ++i) top = top < z[i] ? z[i] : top;
    Vec sum{};  // lanes past the end are cut off
    ForEachVec(width, [&](int64_t i, int64_t lanes) {
      Vec power = Exp(Load(z + i, lanes) - Set(top));
      if (lanes < kLanes) power = LaneIndices() < static_cast<int32_t>(lanes) ? power : Vec{};
      sum += power;
      Store(z + i, power, lanes);
    });
    const Vec inverse = Set(1.0f / SumLanes(sum));
    ForEachVec(width, [&](int64_t i, int64_t lanes) {
      Store(z + i, Load(z + i, lanes) * inverse, lanes);
    });
  }
}

inline void LogSoftmaxForward(const LogSoftmaxArgs& args, const float* logits, float* logprob,
                              float* log_sum_exp, float* entropy) {
  const Vec inverse = Set(args.inverse_temperature);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* z = logits + row * args.vocab;
    const float top = [&] {
      Vec largest = Set(z[0]);
      int64_t i = 0;
      for (; i + kLanes <= args.vocab; i += kLanes) largest = Max(largest, Load(z + i));
      float value = MaxLanes(largest);
      for (; i < args.vocab; ++i) value = value < z[i] ? z[i] : value;
      return value * args.inverse_temperature;
    }();
    // Sums of e^d and of e^d d with d = z - top; lanes past the end are cut off.
    Vec sum{}, weighted{};
    ForEachVec(args.vocab, [&](int64_t i, int64_t lanes) {
      const Vec d = Load(z + i, lanes) * inverse - Set(top);
      Vec e = Exp(d);
      if (lanes < kLanes) e = LaneIndices() < static_cast<int32_t>(lanes) ? e : Vec{};
      sum += e;
      weighted = Fma(e, d, weighted);
    });
    const float total = SumLanes(sum);
    const float log_total = std::log(total);
    log_sum_exp[row] = top + log_total;
    logprob[row] = z[args.targets[row]] * args.inverse_temperature - log_sum_exp[row];
    if (entropy != nullptr) entropy[row] = log_total - SumLanes(weighted) / total;
  }
}

// d logprob / d logit = (1[target] - softmax) / temperature.
inline void LogSoftmaxBackward(const LogSoftmaxArgs& args, const float* log_sum_exp,
                               const float* dlogprob, float* logits) {
  const Vec inverse = Set(args.inverse_temperature);
  for (int64_t row = 0; row < args.rows; ++row) {
    float* z = logits + row * args.vocab;
    const float gradient = dlogprob[row] * args.inverse_temperature;
    ForEachVec(args.vocab, [&](int64_t i, int64_t lanes) {
      const Vec probability = Exp(Load(z + i, lanes) * inverse - Set(log_sum_exp[row]));
      Store(z + i, probability * Set(-gradient), lanes);
    });
    z[args.targets[row]] += gradient;
  }
}

inline void SumRows(int64_t rows, int64_t width, int per_row, const int32_t* places,
                    const float* source, const float* base, float* out) {
  for (int64_t row = 0; row < rows; ++row) {
    ForEachVec(width, [&](int64_t i, int64_t lanes) {
      Vec sum = base == nullptr ? Vec{} : Load(base + row * width + i, lanes);
      for (int j = 0; j < per_row; ++j)
        sum += Load(source + places[row * per_row + j] * width + i, lanes);
      Store(out + row * width + i, sum, lanes);
    });
  }
}

}  // namespace r1::learner::R1_SIMD_NAMESPACE
