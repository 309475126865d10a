#include "learner/policy/aten_forward_pass.h"

#include <numeric>
#include <utility>

namespace r1::learner::aten {
namespace {

// The same storage as a leaf of a new graph.
at::Tensor NewLeaf(const at::Tensor& x, bool requires_grad) {
  return x.detach().set_requires_grad(requires_grad);
}

int FindIndex(const ModelSpec& spec, WeightRole role, int layer, int expert) {
  const absl::StatusOr<int> index = spec.FindWeight(role, layer, expert);
  R1_CHECK(index.ok());
  return *index;
}

// Every key and value head as often as query heads share it: [T, kv_heads, K] -> [T, H, K].
at::Tensor RepeatHeads(const at::Tensor& x, int64_t times) {
  return x.unsqueeze(2)
      .expand({x.size(0), x.size(1), times, x.size(2)})
      .reshape({x.size(0), x.size(1) * times, x.size(2)});
}

}  // namespace

int64_t Layout::Segment::end() const { return std::accumulate(sizes.begin(), sizes.end(), begin); }

Layout::Layout(const ModelSpec& spec) {
  int64_t place = 0, biases = 0;
  int layer = -2;
  std::vector<bool> seen(spec.layers.size());
  for (const WeightSpec& weight : spec.weights) {
    if (!weight.trainable()) {
      segment_of.push_back(-1);
      number_of.push_back(-1);
      bias_offsets.push_back(biases);
      biases += weight.elements();
      continue;
    }
    if (weight.layer != layer) {
      layer = weight.layer;
      segments.push_back({.begin = place, .sizes = {}});
      if (layer >= 0) {
        R1_CHECK(!seen[static_cast<size_t>(layer)]);
        seen[static_cast<size_t>(layer)] = true;
      }
    }
    segment_of.push_back(static_cast<int>(segments.size()) - 1);
    number_of.push_back(static_cast<int>(segments.back().sizes.size()));
    bias_offsets.push_back(-1);
    segments.back().sizes.push_back(weight.elements());
    place += weight.elements();
  }
}

ForwardPass::Weights::Weights(const ForwardPass& pass, int segment, int layer)
    : pass_(pass), layer_(layer) {
  const at::Tensor& leaf = pass.leaves_[static_cast<size_t>(segment)];
  const std::vector<int64_t>& sizes = pass.layout_.segments[static_cast<size_t>(segment)].sizes;
  exact_ = leaf.split_with_sizes(sizes);
  rounded_ = leaf.to(pass.options_.dtype).split_with_sizes(sizes);
}

const at::Tensor& ForwardPass::Weights::Find(const Tensors& tensors, WeightRole role,
                                             int expert) const {
  const int index = FindIndex(pass_.spec_, role, layer_, expert);
  return tensors[static_cast<size_t>(pass_.layout_.number_of[static_cast<size_t>(index)])];
}

at::Tensor ForwardPass::Weights::Exact(WeightRole role) const { return Find(exact_, role, -1); }

at::Tensor ForwardPass::Weights::Widened(WeightRole role) const {
  return (*this)(role).to(at::kFloat);
}

at::Tensor ForwardPass::Weights::operator()(WeightRole role, bool present, int expert) const {
  if (!present) return at::Tensor();
  const int index = FindIndex(pass_.spec_, role, layer_, expert);
  return Find(rounded_, role, expert).view(pass_.spec_.weights[static_cast<size_t>(index)].shape);
}

ForwardPass::ForwardPass(const ModelSpec& spec, const Layout& layout, const at::Tensor& parameters,
                         const at::Tensor& router_biases, const PackedBatch& batch,
                         const PassOptions& options)
    : spec_(spec),
      layout_(layout),
      router_biases_(router_biases),
      options_(options),
      device_(parameters.device()),
      rotation_(spec.layers[0].rope(), batch.positions, device_),
      padded_(batch, device_),
      tokens_(ToDevice(batch.tokens, device_)),
      target_rows_(ToDevice(batch.target_rows, device_)),
      target_tokens_(ToDevice(batch.target_tokens, device_).to(at::kLong)) {
  // Leaves of this pass alone, so that passes on several threads share no autograd state.
  for (const Layout::Segment& segment : layout.segments) {
    leaves_.push_back(
        NewLeaf(parameters.slice(0, segment.begin, segment.end()), options.with_gradient));
  }
  if (options.with_gradient) gradient_ = at::zeros_like(parameters);
}

int ForwardPass::SegmentOf(WeightRole role, int layer) const {
  return layout_.segment_of[static_cast<size_t>(FindIndex(spec_, role, layer, -1))];
}

at::Tensor ForwardPass::Norm(const at::Tensor& x, const at::Tensor& weight, double eps) const {
  return at::rms_norm(x.to(at::kFloat), {weight.numel()}, weight, eps).to(options_.dtype);
}

at::Tensor ForwardPass::LatentAttention(const Weights& weights, const MlaSpec& spec,
                                        const at::Tensor& x) const {
  const bool biased = spec.projection_bias;
  const int64_t tokens = x.size(0), nope = spec.qk_nope_head_dim;
  const at::Tensor in = Norm(x, weights.Exact(WeightRole::kAttentionNorm), spec_.rms_norm_eps);
  at::Tensor latent_query = in;
  if (spec.q_lora_rank > 0) {
    latent_query = Norm(at::linear(in, weights(WeightRole::kQueryDown),
                                   weights(WeightRole::kQueryDownBias, biased)),
                        weights.Exact(WeightRole::kQueryNorm), spec.latent_norm_eps);
  }
  const at::Tensor queries =
      at::linear(latent_query, weights(WeightRole::kQuery)).view({tokens, spec.heads, -1});
  // The latent part is normed; the rotary key behind it is not, and all heads share it.
  const at::Tensor kv_down =
      at::linear(in, weights(WeightRole::kKvDown), weights(WeightRole::kKvDownBias, biased));
  const at::Tensor latent = Norm(kv_down.slice(1, 0, spec.kv_lora_rank),
                                 weights.Exact(WeightRole::kKvNorm), spec.latent_norm_eps);
  const at::Tensor kv =
      at::linear(latent, weights(WeightRole::kKvUp)).view({tokens, spec.heads, -1});
  const auto rotated = [&](const at::Tensor& heads) {
    return rotation_.Apply(heads).to(options_.dtype).expand({tokens, spec.heads, -1});
  };
  const at::Tensor out = Attention(
      padded_, at::cat({queries.slice(2, 0, nope), rotated(queries.slice(2, nope))}, 2),
      at::cat({kv.slice(2, 0, nope), rotated(kv_down.slice(1, spec.kv_lora_rank).unsqueeze(1))}, 2),
      kv.slice(2, nope), spec.softmax_scale);
  return x +
         at::linear(out, weights(WeightRole::kOutput), weights(WeightRole::kOutputBias, biased));
}

at::Tensor ForwardPass::GroupedAttention(const Weights& weights, const GqaSpec& spec,
                                         const at::Tensor& x) const {
  const at::Tensor in = Norm(x, weights.Exact(WeightRole::kAttentionNorm), spec_.rms_norm_eps);
  const auto heads = [&](WeightRole role, WeightRole bias) {
    return at::linear(in, weights(role), weights(bias, spec.qkv_bias))
        .view({x.size(0), -1, spec.head_dim});
  };
  const auto rotated = [&](const at::Tensor& heads, WeightRole norm) {
    const at::Tensor normed =
        spec.qk_norm ? Norm(heads, weights.Exact(norm), spec.qk_norm_eps) : heads;
    return rotation_.Apply(normed).to(options_.dtype);
  };
  const at::Tensor queries =
      rotated(heads(WeightRole::kQuery, WeightRole::kQueryBias), WeightRole::kQueryHeadNorm);
  const at::Tensor keys =
      rotated(heads(WeightRole::kKey, WeightRole::kKeyBias), WeightRole::kKeyHeadNorm);
  const at::Tensor values = heads(WeightRole::kValue, WeightRole::kValueBias);
  const int64_t times = spec.heads / spec.kv_heads;
  const at::Tensor out = Attention(padded_, queries, RepeatHeads(keys, times),
                                   RepeatHeads(values, times), spec.softmax_scale);
  return x + at::linear(out, weights(WeightRole::kOutput),
                        weights(WeightRole::kOutputBias, spec.output_bias));
}

at::Tensor ForwardPass::MlpBlock(int layer, const Weights& weights, const at::Tensor& x,
                                 Tensors* loads) const {
  const LayerSpec& spec = spec_.layers[static_cast<size_t>(layer)];
  const at::Tensor in = Norm(x, weights.Exact(WeightRole::kMlpNorm), spec_.rms_norm_eps);
  if (spec.dense) {
    const bool biased = spec.dense->bias;
    return x + GatedMlp(in, {.gate = weights(WeightRole::kGate),
                             .up = weights(WeightRole::kUp),
                             .down = weights(WeightRole::kDown),
                             .gate_bias = weights(WeightRole::kGateBias, biased),
                             .up_bias = weights(WeightRole::kUpBias, biased),
                             .down_bias = weights(WeightRole::kDownBias, biased)});
  }
  const MoeSpec& moe = *spec.moe;
  at::Tensor bias;
  if (moe.gate == MoeGate::kSigmoidBias) {
    const int index = FindIndex(spec_, WeightRole::kRouterBias, layer, -1);
    bias = router_biases_.narrow(0, layout_.bias_offsets[static_cast<size_t>(index)], moe.experts);
  }
  const Choice choice =
      Route(moe, at::linear(in.to(at::kFloat), weights.Widened(WeightRole::kRouter)), bias);
  if (loads != nullptr) loads->push_back(choice.load);
  std::vector<Mlp> experts;
  for (int e = 0; e < moe.experts; ++e) {
    experts.push_back({.gate = weights(WeightRole::kExpertGate, true, e),
                       .up = weights(WeightRole::kExpertUp, true, e),
                       .down = weights(WeightRole::kExpertDown, true, e)});
  }
  const at::Tensor routed = x + RoutedExperts(in, choice, experts);
  if (moe.shared_intermediate == 0) return routed;
  return routed + GatedMlp(in, {.gate = weights(WeightRole::kSharedGate),
                                .up = weights(WeightRole::kSharedUp),
                                .down = weights(WeightRole::kSharedDown)});
}

at::Tensor ForwardPass::Layer(int layer, const at::Tensor& x, Tensors* loads) const {
  const LayerSpec& spec = spec_.layers[static_cast<size_t>(layer)];
  const Weights weights(*this, SegmentOf(WeightRole::kAttentionNorm, layer), layer);
  return MlpBlock(layer, weights,
                  spec.mla.has_value() ? LatentAttention(weights, *spec.mla, x)
                                       : GroupedAttention(weights, *spec.gqa, x),
                  loads);
}

at::Tensor ForwardPass::Layers(Tensors* loads) {
  const bool gradient = options_.with_gradient;
  const bool keep_graphs = gradient && !options_.activation_recompute;
  const Weights first(*this, SegmentOf(WeightRole::kEmbedding), -1);
  embedded_ = at::embedding(first.Widened(WeightRole::kEmbedding), tokens_);
  at::Tensor x = embedded_;
  for (int layer = 0; layer < static_cast<int>(spec_.layers.size()); ++layer) {
    const at::AutoGradMode layer_mode(keep_graphs);
    x = NewLeaf(x, gradient);
    if (gradient) layer_inputs_.push_back(x);
    x = Layer(layer, x, loads);
    layer_outputs_.push_back(keep_graphs ? x : at::Tensor());
  }
  return x;
}

ForwardPass::HeadInput ForwardPass::PrepareHead(const at::Tensor& x) const {
  const WeightRole role = spec_.tie_embeddings ? WeightRole::kEmbedding : WeightRole::kHead;
  const Weights last(*this, SegmentOf(WeightRole::kFinalNorm), -1);
  const Weights head(*this, SegmentOf(role), -1);
  return {.rows = Norm(x.index_select(0, target_rows_), last.Exact(WeightRole::kFinalNorm),
                       spec_.rms_norm_eps)
                      .to(at::kFloat),
          .head = head.Widened(role)};
}

at::Tensor ForwardPass::Run(ForwardStats* stats) {
  const at::AutoGradMode mode(options_.with_gradient);
  Tensors loads;
  at::Tensor entropy;
  head_input_ = NewLeaf(Layers(stats == nullptr ? nullptr : &loads), options_.with_gradient);
  const HeadInput input = PrepareHead(head_input_);
  logprobs_ = TokenLogprobs(input.rows, input.head, target_tokens_, options_.temperature,
                            stats == nullptr ? nullptr : &entropy);
  if (stats != nullptr) {
    const at::Tensor host = entropy.to(at::kCPU);
    const float* const values = host.const_data_ptr<float>();
    stats->entropy.assign(values, values + host.numel());
    stats->expert_load.clear();
    if (!loads.empty()) {
      const at::Tensor counts = at::cat(loads).to(at::kCPU);
      const int64_t* const first = counts.const_data_ptr<int64_t>();
      stats->expert_load.assign(first, first + counts.numel());
    }
  }
  return logprobs_.detach().to(at::kCPU);
}

at::Tensor ForwardPass::Logits() {
  const at::AutoGradMode mode(false);
  const HeadInput input = PrepareHead(Layers(nullptr));
  return at::linear(input.rows, input.head).to(at::kCPU);
}

at::Tensor ForwardPass::Differentiate(const at::Tensor& output, const at::Tensor& doutput,
                                      const at::Tensor& input, const std::vector<int>& segments) {
  Tensors inputs;
  for (const int segment : segments) inputs.push_back(leaves_[static_cast<size_t>(segment)]);
  if (input.defined()) inputs.push_back(input);
  const Tensors found = torch::autograd::grad({output}, inputs, {doutput});
  for (size_t i = 0; i < segments.size(); ++i) {
    const Layout::Segment& segment = layout_.segments[static_cast<size_t>(segments[i])];
    gradient_.slice(0, segment.begin, segment.end()).add_(found[i]);
  }
  return input.defined() ? found.back() : at::Tensor();
}

at::Tensor ForwardPass::Backward(const at::Tensor& dlogprobs) {
  const int first = SegmentOf(WeightRole::kEmbedding);
  std::vector<int> last = {SegmentOf(WeightRole::kFinalNorm)};
  if (spec_.tie_embeddings) last.push_back(first);
  at::Tensor dx = Differentiate(logprobs_, dlogprobs.to(device_), head_input_, last);
  for (int layer = static_cast<int>(spec_.layers.size()) - 1; layer >= 0; --layer) {
    at::Tensor output = layer_outputs_.back();
    if (!output.defined()) {
      const at::AutoGradMode recording(true);
      output = Layer(layer, layer_inputs_.back(), nullptr);
    }
    dx = Differentiate(output, dx, layer_inputs_.back(),
                       {SegmentOf(WeightRole::kAttentionNorm, layer)});
    layer_outputs_.pop_back();
    layer_inputs_.pop_back();
  }
  Differentiate(embedded_, dx, at::Tensor(), {first});
  return gradient_;
}

}  // namespace r1::learner::aten
