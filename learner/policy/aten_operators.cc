#include "learner/policy/aten_operators.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "learner/policy/operators.h"

namespace r1::learner::aten {
namespace {

template <typename T>
at::Tensor CopyToDevice(const std::vector<T>& values, at::ScalarType type,
                        const at::Device& device) {
  const at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, type);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<T>());
  return host.to(device);
}

// The products of each expert's own rows: x [slots, in] in the order of experts, weights [out, in]
// of each -> [slots, out].
at::Tensor GroupedProduct(const at::Tensor& x, const Tensors& weights, const at::Tensor& counts) {
  // LibTorch's grouped product, one launch on a GPU, takes bf16 in rows of whole 16 bytes.
  const bool is_aligned = x.size(1) % 8 == 0 && weights[0].size(0) % 8 == 0;
  if (x.scalar_type() == at::kBFloat16 && is_aligned) {
    const at::Tensor ends = counts.cumsum(0).to(at::kInt);
    return at::_grouped_mm(x, at::stack(weights).transpose(1, 2), ends);
  }
  const at::Tensor host = counts.to(at::kCPU);
  const Tensors rows =
      at::split_with_sizes(x, at::IntArrayRef(host.const_data_ptr<int64_t>(), weights.size()));
  Tensors products;
  for (size_t e = 0; e < weights.size(); ++e) products.push_back(at::linear(rows[e], weights[e]));
  return at::cat(products);
}

// Choices of all but the best groups become -infinity.
at::Tensor KeepBestGroups(const MoeSpec& spec, const at::Tensor& choices) {
  if (spec.expert_groups_kept == spec.expert_groups) return choices;
  const at::Tensor groups = choices.view({choices.size(0), spec.expert_groups, -1});
  const int64_t summed = spec.gate == MoeGate::kSoftmax ? 1 : std::min<int64_t>(2, groups.size(2));
  const at::Tensor scores = std::get<0>(groups.topk(summed, 2)).sum(2);
  const at::Tensor best = scores.argsort(/*stable=*/true, /*dim=*/1, /*descending=*/true)
                              .slice(1, 0, spec.expert_groups_kept);
  const at::Tensor left_out = at::ones_like(scores, at::kBool).scatter_(1, best, false);
  return groups.masked_fill(left_out.unsqueeze(2), -std::numeric_limits<double>::infinity())
      .view_as(choices);
}

}  // namespace

at::Tensor ToDevice(const std::vector<int32_t>& values, const at::Device& device) {
  return CopyToDevice(values, at::kInt, device);
}
at::Tensor ToDevice(const std::vector<int64_t>& values, const at::Device& device) {
  return CopyToDevice(values, at::kLong, device);
}

Rotation::Rotation(const RopeSpec& rope, const std::vector<int32_t>& positions,
                   const at::Device& device)
    : interleaved(rope.interleaved) {
  const int count = 1 + *std::max_element(positions.begin(), positions.end());
  const RopeTable table(rope, count);
  const at::Tensor rows = ToDevice(positions, device);
  const auto at_positions = [&](const std::vector<float>& values) {
    return CopyToDevice(values, at::kFloat, device)
        .view({count, 1, rope.dim / 2})
        .index_select(0, rows);
  };
  cos = at_positions(table.cos);
  sin = at_positions(table.sin);
}

at::Tensor Rotation::Apply(const at::Tensor& x) const {
  const at::Tensor wide = x.to(at::kFloat);
  const Tensors halves = interleaved ? wide.unflatten(-1, {-1, 2}).unbind(-1) : wide.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[0] * sin + halves[1] * cos}, -1);
}

PaddedBatch::PaddedBatch(const PackedBatch& batch, const at::Device& device) {
  const auto start = [&](size_t s) { return int64_t{batch.sequence_starts[s]}; };
  const auto length = [&](size_t s) { return start(s + 1) - start(s); };
  std::vector<size_t> by_length(static_cast<size_t>(batch.sequence_count()));
  std::iota(by_length.begin(), by_length.end(), size_t{0});
  std::stable_sort(by_length.begin(), by_length.end(),
                   [&](size_t a, size_t b) { return length(a) < length(b); });
  std::vector<int64_t> place_of(batch.tokens.size());
  int64_t next = 0;
  for (size_t begin = 0, end = 0; begin < by_length.size(); begin = end) {
    while (end < by_length.size() && length(by_length[end]) <= 2 * length(by_length[begin])) ++end;
    Group group{.sequences = static_cast<int64_t>(end - begin),
                .longest = length(by_length[end - 1])};
    std::vector<int64_t> rows, places;
    for (size_t i = begin; i < end; ++i) {
      const size_t s = by_length[i];
      for (int64_t t = 0; t < length(s); ++t) {
        place_of[static_cast<size_t>(start(s) + t)] = next++;
        places.push_back(static_cast<int64_t>(rows.size()));
        rows.push_back(start(s) + t);
      }
      rows.insert(rows.end(), static_cast<size_t>(group.longest - length(s)), start(s));
    }
    group.rows = ToDevice(rows, device);
    group.places = ToDevice(places, device);
    groups.push_back(std::move(group));
  }
  order = ToDevice(place_of, device);
}

at::Tensor Attention(const PaddedBatch& padded, const at::Tensor& queries, const at::Tensor& keys,
                     const at::Tensor& values, double scale) {
  Tensors outputs;
  for (const PaddedBatch::Group& group : padded.groups) {
    // [T, H, K] -> [sequences, H, longest, K]
    const auto rows = [&](const at::Tensor& x) {
      return x.index_select(0, group.rows)
          .view({group.sequences, group.longest, x.size(1), x.size(2)})
          .transpose(1, 2);
    };
    const at::Tensor out = at::scaled_dot_product_attention(
        rows(queries), rows(keys), rows(values), /*attn_mask=*/std::nullopt,
        /*dropout_p=*/0.0, /*is_causal=*/true, scale);
    outputs.push_back(out.transpose(1, 2)
                          .reshape({-1, values.size(1) * values.size(2)})
                          .index_select(0, group.places));
  }
  return at::cat(outputs).index_select(0, padded.order);
}

Choice Route(const MoeSpec& spec, const at::Tensor& logits, const at::Tensor& bias) {
  const bool softmax = spec.gate == MoeGate::kSoftmax;
  const at::Tensor scores = softmax ? logits.softmax(-1) : logits.sigmoid();
  Choice choice;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor choices = KeepBestGroups(spec, softmax ? scores : scores + bias);
    choice.experts = std::get<0>(choices.argsort(/*stable=*/true, /*dim=*/1, /*descending=*/true)
                                     .slice(1, 0, spec.experts_per_token)
                                     .sort(1));
    const at::Tensor chosen = choice.experts.reshape({-1});
    choice.load =
        at::zeros({spec.experts}, chosen.options()).scatter_add_(0, chosen, at::ones_like(chosen));
  }
  const at::Tensor taken = scores.gather(1, choice.experts);
  choice.weights = spec.normalize_weights ? taken / (taken.sum(1, true) + 1e-20) : taken;
  choice.weights = choice.weights * spec.routed_scaling_factor;
  return choice;
}

at::Tensor GatedMlp(const at::Tensor& x, const Mlp& mlp) {
  const at::Tensor gate = at::linear(x, mlp.gate, mlp.gate_bias);
  const at::Tensor up = at::linear(x, mlp.up, mlp.up_bias);
  return at::linear(at::silu(gate) * up, mlp.down, mlp.down_bias);
}

at::Tensor RoutedExperts(const at::Tensor& x, const Choice& choice,
                         const std::vector<Mlp>& experts) {
  const int64_t tokens = x.size(0), width = x.size(1), active = choice.experts.size(1);
  const at::Tensor flat = choice.experts.reshape({-1});
  // Slots, one for each (token, expert), sorted by expert and then by token. Both orders are
  // permutations, whose gradients are sums of one term: no order of adding to depend on.
  const at::Tensor slots = flat.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor places = slots.argsort();
  Tensors gates, ups, downs;
  for (const Mlp& expert : experts) {
    gates.push_back(expert.gate);
    ups.push_back(expert.up);
    downs.push_back(expert.down);
  }
  const at::Tensor sorted =
      x.unsqueeze(1).expand({tokens, active, width}).reshape({-1, width}).index_select(0, slots);
  const at::Tensor gate = GroupedProduct(sorted, gates, choice.load);
  const at::Tensor up = GroupedProduct(sorted, ups, choice.load);
  const at::Tensor out = GroupedProduct(at::silu(gate) * up, downs, choice.load);
  return (out.index_select(0, places).view({tokens, active, width}).to(at::kFloat) *
          choice.weights.unsqueeze(2))
      .sum(1);
}

at::Tensor TokenLogprobs(const at::Tensor& x, const at::Tensor& head, const at::Tensor& targets,
                         double temperature, at::Tensor* entropy) {
  constexpr int64_t kChunkFloats = int64_t{1} << 26;  // logits alive at a time: 256 MiB
  DifferentiableScope scope;
  const int64_t rows = x.size(0), chunk = std::max<int64_t>(1, kChunkFloats / head.size(0));
  const auto log_softmax = [x, head, temperature](int64_t first, int64_t end) {
    return at::linear(x.slice(0, first, end), head).div_(temperature).log_softmax(-1);
  };
  Tensors logprobs, entropies;
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t end = std::min(rows, first + chunk);
    const at::Tensor logs = log_softmax(first, end);
    logprobs.push_back(logs.gather(1, targets.slice(0, first, end).unsqueeze(1)).squeeze(1));
    if (entropy != nullptr) entropies.push_back((logs * logs.exp()).sum(1).neg());
  }
  if (entropy != nullptr) *entropy = at::cat(entropies);
  const at::Tensor result = at::cat(logprobs);
  scope.Record({x, head}, {result}, [=](const Tensors& dy) -> Tensors {
    Tensors dx;
    const at::Tensor dhead = at::zeros_like(head);
    for (int64_t first = 0; first < rows; first += chunk) {
      const int64_t end = std::min(rows, first + chunk);
      // d logprob[target] / d logit = (is target) - softmax
      const at::Tensor slope = log_softmax(first, end).exp_().neg_();
      const at::Tensor target = targets.slice(0, first, end).unsqueeze(1);
      slope.scatter_add_(1, target, at::ones_like(target, at::kFloat));
      slope.mul_(dy[0].slice(0, first, end).unsqueeze(1)).div_(temperature);
      dx.push_back(slope.mm(head));
      dhead.addmm_(slope.t(), x.slice(0, first, end));
    }
    return {at::cat(dx), dhead};
  });
  return result;
}

}  // namespace r1::learner::aten
