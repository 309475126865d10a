#include "learner/policy/operators.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "learner/policy/matrix_products.h"

namespace r1::learner {
namespace {

const float* Data(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

at::Tensor EmptyVector(int64_t size) { return at::empty({size}, at::kFloat); }

// Of a bias that is there, in one order of summation for one shape.
at::Tensor BiasGradient(const at::Tensor& bias, const at::Tensor& dy) {
  return bias.defined() ? dy.sum(0) : at::Tensor();
}

}  // namespace

at::Tensor GatherRows(const at::Tensor& x, const std::vector<int32_t>& rows) {
  DifferentiableScope scope;
  const int64_t width = x.size(1);
  const at::Tensor y = EmptyMatrix(static_cast<int64_t>(rows.size()), width);
  float* target = MutableData(y);
  for (const int32_t row : rows) {
    std::memcpy(target, Data(x) + row * width, static_cast<size_t>(width) * sizeof(float));
    target += width;
  }
  scope.Record({x}, {y}, [source_rows = x.size(0), width, rows](const Tensors& dy) -> Tensors {
    const at::Tensor dx = at::zeros({source_rows, width}, at::kFloat);
    const at::Tensor gradient = dy[0].contiguous();
    const float* source = Data(gradient);
    float* const target = MutableData(dx);
    for (const int32_t row : rows) {
      for (int64_t c = 0; c < width; ++c) target[row * width + c] += source[c];
      source += width;
    }
    return {dx};
  });
  return y;
}

Normed RmsNorm(const CpuKernels& kernels, const at::Tensor& x, const at::Tensor& weight,
               double eps) {
  DifferentiableScope scope;
  const Normed out{.y = EmptyMatrix(x.size(0), weight.size(0)), .x = x.detach()};
  const at::Tensor inverse_rms = EmptyVector(x.size(0));
  const RmsNormArgs args{.rows = x.size(0),
                         .width = weight.size(0),
                         .x = Data(x),
                         .x_stride = x.size(1),
                         .weight = Data(weight),
                         .eps = static_cast<float>(eps),
                         .inverse_rms = MutableData(inverse_rms)};
  kernels.rms_norm_forward(args, MutableData(out.y));
  scope.Record({x, weight}, {out.y, out.x},
               [&kernels, args, x, weight, inverse_rms](const Tensors& gradients) -> Tensors {
                 const at::Tensor dy = gradients[0].contiguous();
                 const bool passed = gradients[1].defined();
                 const at::Tensor initial = passed ? gradients[1].contiguous() : at::Tensor();
                 const at::Tensor dx = at::empty_like(x), dweight = at::zeros_like(weight);
                 kernels.rms_norm_backward(args, Data(dy), passed ? Data(initial) : nullptr,
                                           MutableData(dx), MutableData(dweight));
                 return {dx, dweight};
               });
  return out;
}

Tensors Project(const CpuKernels& kernels, const at::Tensor& x, const std::vector<Linear>& layers) {
  DifferentiableScope scope;
  Tensors outputs, inputs = {x};
  for (const Linear& layer : layers) {
    outputs.push_back(Apply(kernels, x, layer.weight, layer.bias));
    inputs.insert(inputs.end(), {layer.weight, layer.bias});
  }
  scope.Record(inputs, outputs, [&kernels, x, layers](const Tensors& dy) -> Tensors {
    Tensors gradients = {at::empty_like(x)};
    float* const dx = MutableData(gradients[0]);
    for (size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor gradient = dy[i].contiguous();
      ApplyTransposedInto(kernels, gradient, layers[i].weight, i == 0 ? nullptr : dx, dx);
      gradients.push_back(WeightGradient(kernels, gradient, x));
      gradients.push_back(BiasGradient(layers[i].bias, gradient));
    }
    return gradients;
  });
  return outputs;
}

at::Tensor ProjectAdd(const CpuKernels& kernels, const at::Tensor& residual, const at::Tensor& x,
                      const Linear& layer) {
  DifferentiableScope scope;
  const at::Tensor y = at::empty_like(residual);
  ApplyInto(kernels, x, layer.weight, Data(residual), MutableData(y));
  if (layer.bias.defined()) y.add_(layer.bias);
  scope.Record({residual, x, layer.weight, layer.bias}, {y},
               [&kernels, x, layer](const Tensors& dy) -> Tensors {
                 const at::Tensor gradient = dy[0].contiguous();
                 return {gradient, ApplyTransposed(kernels, gradient, layer.weight),
                         WeightGradient(kernels, gradient, x), BiasGradient(layer.bias, gradient)};
               });
  return y;
}

RopeTable::RopeTable(const RopeSpec& rope, int positions) {
  const int half = rope.dim / 2;
  cos.reserve(static_cast<size_t>(positions) * half);
  sin.reserve(static_cast<size_t>(positions) * half);
  for (int position = 0; position < positions; ++position) {
    for (int i = 0; i < half; ++i) {
      const double angle =
          static_cast<float>(position) * rope.inverse_frequencies[static_cast<size_t>(i)];
      cos.push_back(rope.magnitude * static_cast<float>(std::cos(angle)));
      sin.push_back(rope.magnitude * static_cast<float>(std::sin(angle)));
    }
  }
}

at::Tensor GatedMlpAdd(const CpuKernels& kernels, const at::Tensor& residual, const at::Tensor& x,
                       const MlpWeights& weights, const MlpBiases& biases) {
  DifferentiableScope scope;
  const at::Tensor gate = Apply(kernels, x, weights.gate, biases.gate);
  const at::Tensor up = Apply(kernels, x, weights.up, biases.up);
  const SwiGluArgs args{
      .rows = gate.size(0), .width = gate.size(1), .gate = Data(gate), .up = Data(up)};
  const at::Tensor hidden = at::empty_like(gate);
  kernels.swiglu_forward(args, MutableData(hidden));
  const at::Tensor y = at::empty_like(residual);
  ApplyInto(kernels, hidden, weights.down, Data(residual), MutableData(y));
  if (biases.down.defined()) y.add_(biases.down);
  scope.Record(
      {residual, x, weights.gate, weights.up, weights.down, biases.gate, biases.up, biases.down},
      {y}, [&kernels, args, x, weights, biases, gate, up](const Tensors& dy) -> Tensors {
        const at::Tensor gradient = dy[0].contiguous();
        const at::Tensor dhidden = ApplyTransposed(kernels, gradient, weights.down);
        const at::Tensor hidden = at::empty_like(gate);
        const at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(gate);
        kernels.swiglu_backward(args, {.dout = Data(dhidden),
                                       .out = MutableData(hidden),
                                       .dgate = MutableData(dgate),
                                       .dup = MutableData(dup)});
        const at::Tensor dx = ApplyTransposed(kernels, dgate, weights.gate);
        ApplyTransposedInto(kernels, dup, weights.up, Data(dx), MutableData(dx));
        return {gradient,
                dx,
                WeightGradient(kernels, dgate, x),
                WeightGradient(kernels, dup, x),
                WeightGradient(kernels, gradient, hidden),
                BiasGradient(biases.gate, dgate),
                BiasGradient(biases.up, dup),
                BiasGradient(biases.down, gradient)};
      });
  return y;
}

at::Tensor TokenLogprobs(const CpuKernels& kernels, const at::Tensor& x, const at::Tensor& head,
                         const std::vector<int32_t>& targets, double temperature,
                         std::vector<float>* entropy) {
  constexpr int64_t kChunkFloats = 1 << 18;  // logits alive at a time: 1 MiB
  DifferentiableScope scope;
  const auto rows = static_cast<int64_t>(targets.size());
  const int64_t vocab = head.size(0);
  const int64_t chunk_rows = std::max<int64_t>(1, kChunkFloats / vocab);
  const at::Tensor logprobs = EmptyVector(rows), log_sum_exp = EmptyVector(rows);
  if (entropy != nullptr) entropy->resize(targets.size());
  // The logits of rows [first, first + count), and how to read them.
  const auto chunk = [&kernels, x, head, vocab, targets, rows, chunk_rows,
                      inverse = static_cast<float>(1 / temperature)](int64_t first) {
    const LogSoftmaxArgs args{.rows = std::min(chunk_rows, rows - first),
                              .vocab = vocab,
                              .inverse_temperature = inverse,
                              .targets = targets.data() + first};
    const at::Tensor logits = EmptyMatrix(args.rows, vocab);
    ApplyInto(kernels, Rows(x, first, args.rows), head, nullptr, MutableData(logits));
    return std::pair(logits, args);
  };
  for (int64_t first = 0; first < rows; first += chunk_rows) {
    const auto [logits, args] = chunk(first);
    kernels.log_softmax_forward(args, Data(logits), MutableData(logprobs) + first,
                                MutableData(log_sum_exp) + first,
                                entropy == nullptr ? nullptr : entropy->data() + first);
  }
  scope.Record(
      {x, head}, {logprobs},
      [&kernels, x, head, chunk, log_sum_exp, rows, chunk_rows](const Tensors& dy) -> Tensors {
        const at::Tensor gradient = dy[0].contiguous();
        const at::Tensor dx = at::empty_like(x), dhead = at::zeros_like(head);
        for (int64_t first = 0; first < rows; first += chunk_rows) {
          const auto [logits, args] = chunk(first);
          kernels.log_softmax_backward(args, Data(log_sum_exp) + first, Data(gradient) + first,
                                       MutableData(logits));
          ApplyTransposedInto(kernels, logits, head, nullptr, MutableData(dx) + first * x.size(1));
          dhead.add_(WeightGradient(kernels, logits, Rows(x, first, args.rows)));
        }
        return {dx, dhead};
      });
  return logprobs;
}

}  // namespace r1::learner
