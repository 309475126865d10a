#include "learner/policy/forward_pass.h"

#include <algorithm>
#include <memory>

namespace r1::learner {
namespace {

int PositionCount(const PackedBatch& batch) {
  return 1 + *std::max_element(batch.positions.begin(), batch.positions.end());
}

// The same storage as a leaf of a new graph.
at::Tensor NewLeaf(const at::Tensor& x, bool requires_grad) {
  return x.detach().set_requires_grad(requires_grad);
}

}  // namespace

ForwardPass::ForwardPass(const ModelSpec& spec, const CpuKernels& kernels, const Tensors& weights,
                         const std::vector<const float*>& router_biases, const PackedBatch& batch,
                         const PassOptions& options)
    : spec_(spec),
      kernels_(kernels),
      router_biases_(router_biases),
      batch_(batch),
      options_(options),
      rope_(spec.layers[0].rope(), PositionCount(batch)),
      gradients_(weights.size()) {
  // Leaves of this pass alone, so that passes on several threads share no autograd state.
  for (const at::Tensor& weight : weights) {
    leaves_.push_back(weight.defined() ? NewLeaf(weight, options.with_gradient) : at::Tensor());
  }
}

const at::Tensor& ForwardPass::Weight(WeightRole role, int layer, int expert) const {
  const absl::StatusOr<int> index = spec_.FindWeight(role, layer, expert);
  R1_CHECK(index.ok());
  return leaves_[static_cast<size_t>(*index)];
}

at::Tensor ForwardPass::Bias(bool present, WeightRole role, int layer) const {
  return present ? Weight(role, layer) : at::Tensor();
}

MlpWeights ForwardPass::Mlp(WeightRole gate, WeightRole up, WeightRole down, int layer,
                            int expert) const {
  return {Weight(gate, layer, expert), Weight(up, layer, expert), Weight(down, layer, expert)};
}

const at::Tensor& ForwardPass::Head() const {
  return Weight(spec_.tie_embeddings ? WeightRole::kEmbedding : WeightRole::kHead);
}

at::Tensor ForwardPass::LatentAttentionBlock(int layer, const MlaSpec& attention,
                                             const at::Tensor& x) const {
  const auto weight = [&](WeightRole role) { return Weight(role, layer); };
  const auto bias = [&](WeightRole role) { return Bias(attention.projection_bias, role, layer); };
  const auto norm = [&](const at::Tensor& in, WeightRole role, double eps) {
    return RmsNorm(kernels_, in, weight(role), eps);
  };
  const Normed input = norm(x, WeightRole::kAttentionNorm, spec_.rms_norm_eps);
  const bool compressed = attention.q_lora_rank > 0;
  const Linear first =
      compressed ? Linear(weight(WeightRole::kQueryDown), bias(WeightRole::kQueryDownBias))
                 : Linear(weight(WeightRole::kQuery));
  const Tensors down =
      Project(kernels_, input.y,
              {first, Linear(weight(WeightRole::kKvDown), bias(WeightRole::kKvDownBias))});
  at::Tensor queries = down[0];
  if (compressed) {
    const Normed latent = norm(queries, WeightRole::kQueryNorm, attention.latent_norm_eps);
    queries = Project(kernels_, latent.y, {weight(WeightRole::kQuery)})[0];
  }
  // The latent part of kv_down is normed; the rotary key behind it is not.
  const Normed kv_down = norm(down[1], WeightRole::kKvNorm, attention.latent_norm_eps);
  const at::Tensor kv = Project(kernels_, kv_down.y, {weight(WeightRole::kKvUp)})[0];
  const at::Tensor out =
      LatentAttention(kernels_, attention, rope_, batch_, queries, kv_down.x, kv);
  return ProjectAdd(kernels_, input.x, out,
                    {weight(WeightRole::kOutput), bias(WeightRole::kOutputBias)});
}

at::Tensor ForwardPass::GroupedAttentionBlock(int layer, const GqaSpec& attention,
                                              const at::Tensor& x) const {
  const auto weight = [&](WeightRole role) { return Weight(role, layer); };
  const auto linear = [&](WeightRole role, WeightRole bias) {
    return Linear(weight(role), Bias(attention.qkv_bias, bias, layer));
  };
  // Of every head by itself: heads as rows.
  const auto head_norm = [&](const at::Tensor& heads, WeightRole role) {
    if (!attention.qk_norm) return heads;
    const at::Tensor rows = heads.view({-1, attention.head_dim});
    return RmsNorm(kernels_, rows, weight(role), attention.qk_norm_eps).y.view(heads.sizes());
  };
  const Normed input = RmsNorm(kernels_, x, weight(WeightRole::kAttentionNorm), spec_.rms_norm_eps);
  const Tensors qkv = Project(kernels_, input.y,
                              {linear(WeightRole::kQuery, WeightRole::kQueryBias),
                               linear(WeightRole::kKey, WeightRole::kKeyBias),
                               linear(WeightRole::kValue, WeightRole::kValueBias)});
  const at::Tensor out = GroupedAttention(kernels_, attention, rope_, batch_,
                                          head_norm(qkv[0], WeightRole::kQueryHeadNorm),
                                          head_norm(qkv[1], WeightRole::kKeyHeadNorm), qkv[2]);
  return ProjectAdd(
      kernels_, input.x, out,
      {weight(WeightRole::kOutput), Bias(attention.output_bias, WeightRole::kOutputBias, layer)});
}

at::Tensor ForwardPass::MlpBlock(int layer, const at::Tensor& x, int64_t* expert_load) const {
  const LayerSpec& spec = spec_.layers[static_cast<size_t>(layer)];
  const Normed input =
      RmsNorm(kernels_, x, Weight(WeightRole::kMlpNorm, layer), spec_.rms_norm_eps);
  if (spec.dense) {
    const bool biased = spec.dense->bias;
    return GatedMlpAdd(
        kernels_, input.x, input.y,
        Mlp(WeightRole::kGate, WeightRole::kUp, WeightRole::kDown, layer, -1),
        {Bias(biased, WeightRole::kGateBias, layer), Bias(biased, WeightRole::kUpBias, layer),
         Bias(biased, WeightRole::kDownBias, layer)});
  }
  const float* router_bias = nullptr;
  if (spec.moe->gate == MoeGate::kSigmoidBias) {
    const absl::StatusOr<int> index = spec_.FindWeight(WeightRole::kRouterBias, layer);
    R1_CHECK(index.ok());
    router_bias = router_biases_[static_cast<size_t>(*index)];
  }
  const auto routing = std::make_shared<Routing>();
  const at::Tensor logits = Project(kernels_, input.y, {Weight(WeightRole::kRouter, layer)})[0];
  const at::Tensor weights = Route(kernels_, *spec.moe, logits, router_bias, routing.get());
  for (int e = 0; expert_load != nullptr && e < spec.moe->experts; ++e) {
    expert_load[e] +=
        routing->starts[static_cast<size_t>(e) + 1] - routing->starts[static_cast<size_t>(e)];
  }
  at::Tensor base = input.x;
  if (spec.moe->shared_intermediate > 0) {
    base = GatedMlpAdd(
        kernels_, input.x, input.y,
        Mlp(WeightRole::kSharedGate, WeightRole::kSharedUp, WeightRole::kSharedDown, layer, -1));
  }
  std::vector<MlpWeights> experts;
  for (int e = 0; e < spec.moe->experts; ++e) {
    experts.push_back(
        Mlp(WeightRole::kExpertGate, WeightRole::kExpertUp, WeightRole::kExpertDown, layer, e));
  }
  return RoutedExpertsAdd(kernels_, base, input.y, weights, routing, experts);
}

at::Tensor ForwardPass::Layer(int layer, const at::Tensor& x, int64_t* expert_load) const {
  const LayerSpec& spec = spec_.layers[static_cast<size_t>(layer)];
  return MlpBlock(layer,
                  spec.mla.has_value() ? LatentAttentionBlock(layer, *spec.mla, x)
                                       : GroupedAttentionBlock(layer, *spec.gqa, x),
                  expert_load);
}

at::Tensor ForwardPass::FinalNorm(const at::Tensor& x) const {
  const at::Tensor rows = GatherRows(x, batch_.target_rows);
  return RmsNorm(kernels_, rows, Weight(WeightRole::kFinalNorm), spec_.rms_norm_eps).y;
}

at::Tensor ForwardPass::Logprobs(const at::Tensor& x, std::vector<float>* entropy) const {
  return TokenLogprobs(kernels_, FinalNorm(x), Head(), batch_.target_tokens, options_.temperature,
                       entropy);
}

at::Tensor ForwardPass::Logits() {
  const at::AutoGradMode mode(false);
  return Project(kernels_, FinalNorm(Layers(nullptr)), {Head()})[0];
}

at::Tensor ForwardPass::Layers(int64_t* expert_load) {
  const bool gradient = options_.with_gradient;
  const bool keep_graphs = gradient && !options_.activation_recompute;
  embedded_ = GatherRows(Weight(WeightRole::kEmbedding), batch_.tokens);
  at::Tensor x = embedded_;
  for (size_t layer = 0; layer < spec_.layers.size(); ++layer) {
    const at::AutoGradMode layer_mode(keep_graphs);
    x = NewLeaf(x, gradient);
    if (gradient) layer_inputs_.push_back(x);
    x = Layer(static_cast<int>(layer), x, expert_load);
    layer_outputs_.push_back(keep_graphs ? x : at::Tensor());
    if (expert_load != nullptr && spec_.layers[layer].moe) {
      expert_load += spec_.layers[layer].moe->experts;
    }
  }
  return x;
}

at::Tensor ForwardPass::Run(ForwardStats* stats) {
  int64_t* expert_load = nullptr;
  if (stats != nullptr) {
    stats->expert_load.assign(static_cast<size_t>(spec_.routed_experts()), 0);
    expert_load = stats->expert_load.data();
  }
  const at::AutoGradMode mode(options_.with_gradient);
  head_input_ = NewLeaf(Layers(expert_load), options_.with_gradient);
  logprobs_ = Logprobs(head_input_, stats == nullptr ? nullptr : &stats->entropy);
  return logprobs_.detach();
}

std::vector<int> ForwardPass::WeightsOfLayer(int layer) const {
  std::vector<int> weights;
  for (size_t w = 0; w < spec_.weights.size(); ++w) {
    if (spec_.weights[w].layer == layer && spec_.weights[w].trainable()) {
      weights.push_back(static_cast<int>(w));
    }
  }
  return weights;
}

at::Tensor ForwardPass::Differentiate(const at::Tensor& output, const at::Tensor& doutput,
                                      const at::Tensor& input, const std::vector<int>& weights) {
  Tensors inputs;
  for (const int w : weights) inputs.push_back(leaves_[static_cast<size_t>(w)]);
  if (input.defined()) inputs.push_back(input);
  const Tensors found = torch::autograd::grad({output}, inputs, {doutput});
  for (size_t i = 0; i < weights.size(); ++i) {
    at::Tensor& gradient = gradients_[static_cast<size_t>(weights[i])];
    gradient = gradient.defined() ? gradient + found[i] : found[i];  // tied embeddings come twice
  }
  return input.defined() ? found.back() : at::Tensor();
}

Tensors ForwardPass::Backward(const at::Tensor& dlogprobs) {
  const auto index = [&](WeightRole role) { return *spec_.FindWeight(role); };
  const int head = index(spec_.tie_embeddings ? WeightRole::kEmbedding : WeightRole::kHead);
  at::Tensor dx =
      Differentiate(logprobs_, dlogprobs, head_input_, {index(WeightRole::kFinalNorm), head});
  for (int layer = static_cast<int>(spec_.layers.size()) - 1; layer >= 0; --layer) {
    at::Tensor output = layer_outputs_.back();
    if (!output.defined()) {
      const at::AutoGradMode recording(true);
      output = Layer(layer, layer_inputs_.back(), nullptr);
    }
    dx = Differentiate(output, dx, layer_inputs_.back(), WeightsOfLayer(layer));
    layer_outputs_.pop_back();
    layer_inputs_.pop_back();
  }
  Differentiate(embedded_, dx, at::Tensor(), {index(WeightRole::kEmbedding)});
  return std::move(gradients_);
}

}  // namespace r1::learner
