// The routed experts of a mixture-of-experts layer: the choice and the grouped MLPs. No token is
// ever dropped, and every sum has a fixed order: rows are gathered by expert for the matrix
// products and summed back by token.

#include <cstring>
#include <utility>

#include "kernels/moe_router.h"
#include "learner/policy/matrix_products.h"
#include "learner/policy/operators.h"

namespace r1::learner {
namespace {

const float* Data(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

// Counting sort of the (token, expert) pairs by expert.
void AssignSlots(int experts, int per_token, Routing* routing) {
  routing->starts.assign(static_cast<size_t>(experts) + 1, 0);
  for (const int32_t expert : routing->experts) ++routing->starts[expert + 1];
  for (int e = 0; e < experts; ++e) routing->starts[e + 1] += routing->starts[e];
  std::vector<int64_t> next(routing->starts.begin(), routing->starts.end() - 1);
  routing->slots.resize(routing->experts.size());
  routing->slot_tokens.resize(routing->experts.size());
  for (size_t i = 0; i < routing->experts.size(); ++i) {
    const int64_t slot = next[routing->experts[i]]++;
    routing->slots[i] = static_cast<int32_t>(slot);
    routing->slot_tokens[slot] = static_cast<int32_t>(i / per_token);
  }
}

// Rows of x in the order of slots.
at::Tensor GatherSlots(const at::Tensor& x, const Routing& routing) {
  const int64_t width = x.size(1);
  const at::Tensor sorted = EmptyMatrix(static_cast<int64_t>(routing.slot_tokens.size()), width);
  float* target = MutableData(sorted);
  for (const int32_t token : routing.slot_tokens) {
    std::memcpy(target, Data(x) + token * width, static_cast<size_t>(width) * sizeof(float));
    target += width;
  }
  return sorted;
}

// Calls f(expert, first slot, number of slots) for the experts that have any.
template <typename F>
void ForEachExpert(const Routing& routing, F f) {
  for (size_t e = 0; e + 1 < routing.starts.size(); ++e) {
    const int64_t first = routing.starts[e], count = routing.starts[e + 1] - first;
    if (count > 0) f(e, first, count);
  }
}

// Gradient of one token's logits from that of its weights: w = scaling * s / sum(s) gives
// ds = scaling / sum(s) * (dw - sum(dw s) / sum(s)). A sigmoid s has the slope s (1 - s); a softmax
// passes on s (ds - sum(ds s)), to the logits of all experts.
void RouteTokenBackward(const MoeSpec& spec, const int32_t* experts, const float* scores,
                        const float* dweights, float* dlogits) {
  float sum = 0, dot = 0;
  for (int a = 0; a < spec.experts_per_token; ++a) {
    sum += scores[experts[a]];
    dot += dweights[a] * scores[experts[a]];
  }
  const float inverse_sum = spec.normalize_weights ? 1 / (sum + 1e-20f) : 1;
  const float mean = spec.normalize_weights ? dot * inverse_sum : 0;
  const float factor = static_cast<float>(spec.routed_scaling_factor) * inverse_sum;
  if (spec.gate == MoeGate::kSoftmax) {
    float dscores_dot = 0;
    for (int a = 0; a < spec.experts_per_token; ++a) {
      dscores_dot += factor * (dweights[a] - mean) * scores[experts[a]];
    }
    for (int e = 0; e < spec.experts; ++e) dlogits[e] = -scores[e] * dscores_dot;
    for (int a = 0; a < spec.experts_per_token; ++a) {
      dlogits[experts[a]] += factor * (dweights[a] - mean) * scores[experts[a]];
    }
    return;
  }
  for (int a = 0; a < spec.experts_per_token; ++a) {
    const float s = scores[experts[a]];
    dlogits[experts[a]] = factor * (dweights[a] - mean) * s * (1 - s);
  }
}

struct ExpertInputs {
  const CpuKernels& kernels;
  at::Tensor x;        // [T, D]
  at::Tensor weights;  // [T, A]
  std::shared_ptr<const Routing> routing;
  std::vector<MlpWeights> experts;
};

// What the backward pass needs, in the order of slots.
struct ExpertActivations {
  at::Tensor x;        // [slots, D]
  at::Tensor weights;  // [slots]
  at::Tensor gate;     // [slots, I]
  at::Tensor up;       // [slots, I]

  SwiGluArgs swiglu() const {
    return {.rows = gate.size(0),
            .width = gate.size(1),
            .gate = Data(gate),
            .up = Data(up),
            .row_weight = Data(weights)};
  }
};

at::Tensor ExpertsForward(const ExpertInputs& in, const at::Tensor& base, ExpertActivations* kept) {
  const Routing& routing = *in.routing;
  const auto slots = static_cast<int64_t>(routing.slots.size());
  const int64_t width = in.x.size(1), intermediate = in.experts[0].gate.size(0);
  *kept = {.x = GatherSlots(in.x, routing),
           .weights = at::empty({slots}, at::kFloat),
           .gate = EmptyMatrix(slots, intermediate),
           .up = EmptyMatrix(slots, intermediate)};
  float* const slot_weights = MutableData(kept->weights);
  for (int64_t i = 0; i < slots; ++i) slot_weights[routing.slots[i]] = Data(in.weights)[i];
  ForEachExpert(routing, [&](size_t e, int64_t first, int64_t count) {
    const Rows x(kept->x, first, count);
    const int64_t place = first * intermediate;
    ApplyInto(in.kernels, x, in.experts[e].gate, nullptr, MutableData(kept->gate) + place);
    ApplyInto(in.kernels, x, in.experts[e].up, nullptr, MutableData(kept->up) + place);
  });
  const at::Tensor hidden = at::empty_like(kept->gate);
  in.kernels.swiglu_forward(kept->swiglu(), MutableData(hidden));
  const at::Tensor slot_outputs = EmptyMatrix(slots, width);
  ForEachExpert(routing, [&](size_t e, int64_t first, int64_t count) {
    ApplyInto(in.kernels, Rows(hidden, first, count), in.experts[e].down, nullptr,
              MutableData(slot_outputs) + first * width);
  });
  const at::Tensor y = at::empty_like(in.x);
  in.kernels.sum_rows(y.size(0), width, static_cast<int>(in.weights.size(1)), routing.slots.data(),
                      Data(slot_outputs), Data(base), MutableData(y));
  return y;
}

// Gradients of base, x, weights, and of each expert's gate, up and down.
Tensors ExpertsBackward(const ExpertInputs& in, const ExpertActivations& kept,
                        const at::Tensor& dy) {
  const Routing& routing = *in.routing;
  const at::Tensor dy_sorted = GatherSlots(dy, routing);
  const at::Tensor dhidden = at::empty_like(kept.gate), hidden = at::empty_like(kept.gate);
  const at::Tensor dgate = at::empty_like(kept.gate), dup = at::empty_like(kept.gate);
  const at::Tensor dslot_weights = at::empty_like(kept.weights);
  ForEachExpert(routing, [&](size_t e, int64_t first, int64_t count) {
    ApplyTransposedInto(in.kernels, Rows(dy_sorted, first, count), in.experts[e].down, nullptr,
                        MutableData(dhidden) + first * dhidden.size(1));
  });
  in.kernels.swiglu_backward(kept.swiglu(), {.dout = Data(dhidden),
                                             .out = MutableData(hidden),
                                             .dgate = MutableData(dgate),
                                             .dup = MutableData(dup),
                                             .drow_weight = MutableData(dslot_weights)});
  Tensors gradients(3 + 3 * in.experts.size());
  for (size_t e = 0; e < in.experts.size(); ++e) {
    if (routing.starts[e] < routing.starts[e + 1]) continue;
    gradients[3 + 3 * e] = at::zeros_like(in.experts[e].gate);
    gradients[4 + 3 * e] = at::zeros_like(in.experts[e].up);
    gradients[5 + 3 * e] = at::zeros_like(in.experts[e].down);
  }
  const at::Tensor dx_sorted = at::empty_like(kept.x);
  ForEachExpert(routing, [&](size_t e, int64_t first, int64_t count) {
    const Rows x(kept.x, first, count), dgate_rows(dgate, first, count),
        dup_rows(dup, first, count);
    float* const dx = MutableData(dx_sorted) + first * x.width;
    ApplyTransposedInto(in.kernels, dgate_rows, in.experts[e].gate, nullptr, dx);
    ApplyTransposedInto(in.kernels, dup_rows, in.experts[e].up, dx, dx);
    gradients[3 + 3 * e] = WeightGradient(in.kernels, dgate_rows, x);
    gradients[4 + 3 * e] = WeightGradient(in.kernels, dup_rows, x);
    gradients[5 + 3 * e] =
        WeightGradient(in.kernels, Rows(dy_sorted, first, count), Rows(hidden, first, count));
  });
  gradients[0] = dy;
  gradients[1] = at::empty_like(in.x);
  in.kernels.sum_rows(in.x.size(0), in.x.size(1), static_cast<int>(in.weights.size(1)),
                      routing.slots.data(), Data(dx_sorted), nullptr, MutableData(gradients[1]));
  gradients[2] = at::empty_like(in.weights);
  float* const dweights = MutableData(gradients[2]);
  for (int64_t i = 0; i < in.weights.numel(); ++i) {
    dweights[i] = Data(dslot_weights)[routing.slots[i]];
  }
  return gradients;
}

}  // namespace

at::Tensor Route(const CpuKernels& kernels, const MoeSpec& spec, const at::Tensor& logits,
                 const float* bias, Routing* routing) {
  DifferentiableScope scope;
  const int64_t tokens = logits.size(0), E = spec.experts, A = spec.experts_per_token;
  const at::Tensor scores = logits.clone();
  const bool softmax = spec.gate == MoeGate::kSoftmax;
  if (softmax) {
    kernels.softmax(tokens, E, MutableData(scores));
  } else {
    kernels.sigmoid(scores.numel(), MutableData(scores));
  }
  const at::Tensor weights = EmptyMatrix(tokens, A);
  routing->experts.resize(static_cast<size_t>(tokens * A));
  kernels::MoeRouterArgs args;
  args.router.n = spec.experts;
  args.gate = softmax ? kernels::RouterGate::kSoftmax : kernels::RouterGate::kSigmoidBias;
  args.bias = bias;
  args.active = spec.experts_per_token;
  args.groups = spec.expert_groups;
  args.groups_kept = spec.expert_groups_kept;
  args.normalize = spec.normalize_weights;
  args.scaling = static_cast<float>(spec.routed_scaling_factor);
  for (int64_t t = 0; t < tokens; ++t) {
    kernels::ChooseExperts(args, Data(scores) + t * E, &routing->experts[t * A],
                           MutableData(weights) + t * A);
  }
  AssignSlots(spec.experts, spec.experts_per_token, routing);
  scope.Record({logits}, {weights},
               [spec, scores, experts = routing->experts](const Tensors& dy) -> Tensors {
                 const int64_t E = spec.experts, A = spec.experts_per_token;
                 const at::Tensor gradient = dy[0].contiguous();
                 const at::Tensor dlogits = at::zeros_like(scores);
                 for (int64_t t = 0; t < scores.size(0); ++t) {
                   RouteTokenBackward(spec, &experts[t * A], Data(scores) + t * E,
                                      Data(gradient) + t * A, MutableData(dlogits) + t * E);
                 }
                 return {dlogits};
               });
  return weights;
}

at::Tensor RoutedExpertsAdd(const CpuKernels& kernels, const at::Tensor& base, const at::Tensor& x,
                            const at::Tensor& weights, std::shared_ptr<const Routing> routing,
                            const std::vector<MlpWeights>& experts) {
  DifferentiableScope scope;
  const ExpertInputs in{kernels, x, weights, std::move(routing), experts};
  ExpertActivations kept;
  const at::Tensor y = ExpertsForward(in, base, &kept);
  Tensors inputs = {base, x, weights};
  for (const MlpWeights& expert : experts) {
    inputs.insert(inputs.end(), {expert.gate, expert.up, expert.down});
  }
  scope.Record(inputs, {y}, [in, kept](const Tensors& dy) {
    return ExpertsBackward(in, kept, dy[0].contiguous());
  });
  return y;
}

}  // namespace r1::learner
