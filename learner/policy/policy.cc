#include "learner/policy/policy.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "kernels/isa.h"
#include "kernels/moe_router.h"
#include "learner/policy/aten_policy.h"
#include "learner/policy/forward_pass.h"
#include "learner/policy/policy_base.h"
#include "learner/policy/tensor_pool.h"

namespace r1::learner {
namespace {

// 0 * x is 0 for finite x alone. Eight sums, so that the loop is vectorised.
bool AllFinite(const float* values, int64_t count) {
  float probes[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) probes[lane] += values[i + lane] * 0.0f;
  }
  for (int64_t i = count / 8 * 8; i < count; ++i) probes[0] += values[i] * 0.0f;
  return std::all_of(probes, probes + 8, [](float probe) { return probe == 0.0f; });
}

// The passes of the CPU: this project's own kernels, in fp32.
class TorchPolicy : public PolicyBase {
 public:
  TorchPolicy(const ModelSpec& spec, const PolicyOptions& options, const CpuKernels& kernels)
      : PolicyBase(spec, at::zeros({spec.parameters()}, at::kFloat)),
        options_(options),
        kernels_(kernels) {
    for (size_t w = 0; w < spec.weights.size(); ++w) {
      const bool trainable = spec.weights[w].trainable();
      bias_pointers_.push_back(trainable ? nullptr : Values(w).data());
      views_.push_back(trainable
                           ? at::from_blob(Values(w).data(), spec.weights[w].shape, at::kFloat)
                           : at::Tensor());
    }
  }

 private:
  std::vector<float> ComputeLogprobs(const PackedBatch& batch, double temperature,
                                     ForwardStats* stats) override {
    ForwardPass pass = MakePass(batch, {.temperature = temperature});
    const at::Tensor logprobs = pass.Run(stats);
    const float* values = logprobs.const_data_ptr<float>();
    return std::vector<float>(values, values + logprobs.numel());
  }

  std::vector<float> ComputeLogits(const PackedBatch& batch) override {
    const at::Tensor logits = MakePass(batch, {}).Logits();
    const float* values = logits.const_data_ptr<float>();
    return std::vector<float>(values, values + logits.numel());
  }

  absl::StatusOr<double> Differentiate(const PackedBatch& batch, double temperature,
                                       const LossFunction& loss, std::span<float> gradient,
                                       ForwardStats* stats) override;

  ForwardPass MakePass(const PackedBatch& batch, PassOptions options) const {
    at::set_num_threads(1);
    options.activation_recompute = options_.activation_recompute;
    return ForwardPass(spec(), kernels_, views_, bias_pointers_, batch, options);
  }

  const PolicyOptions options_;
  const CpuKernels& kernels_;
  Tensors views_;  // of the parameters; one for each of spec().weights, undefined for buffers
  std::vector<const float*> bias_pointers_;  // of the buffers, likewise
};

absl::StatusOr<double> TorchPolicy::Differentiate(const PackedBatch& batch, double temperature,
                                                  const LossFunction& loss,
                                                  std::span<float> gradient, ForwardStats* stats) {
  ForwardPass pass = MakePass(batch, {.with_gradient = true, .temperature = temperature});
  R1_ASSIGN_OR_RETURN(const LossValue result, Evaluate(loss, pass.Run(stats), batch));
  const Tensors gradients = pass.Backward(result.dlogprobs);
  const std::vector<int64_t>& offsets = parameter_offsets();
  for (size_t w = 0; w < gradients.size(); ++w) {
    if (offsets[w] < 0) continue;
    const at::Tensor contiguous = gradients[w].contiguous();
    if (!AllFinite(contiguous.const_data_ptr<float>(), contiguous.numel())) return NotFinite(w);
  }
  for (size_t w = 0; w < gradients.size(); ++w) {
    if (offsets[w] < 0) continue;
    const at::Tensor contiguous = gradients[w].contiguous();
    const float* source = contiguous.const_data_ptr<float>();
    float* target = gradient.data() + offsets[w];
    for (int64_t i = 0; i < contiguous.numel(); ++i) target[i] += source[i];
  }
  return result.value;
}

// What the kernels' arrays have room for, and the one rotary table that a pass makes.
absl::Status CheckSpec(const ModelSpec& spec) {
  if (spec.layers.empty()) {
    return absl::InvalidArgumentError("policy: the model has no layers");
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    if (layer.rope() != spec.layers[0].rope()) {
      return absl::InvalidArgumentError("policy: layers with different rotary embeddings");
    }
    if (!layer.moe.has_value()) continue;
    if (layer.moe->experts > kernels::kExpertsMax ||
        layer.moe->experts_per_token > kernels::kActiveExpertsMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("policy: layer ", i, ": expected at most ", kernels::kExpertsMax,
                       " experts and ", kernels::kActiveExpertsMax, " of them a token, found ",
                       layer.moe->experts, " and ", layer.moe->experts_per_token));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Policy>> Policy::Create(const ModelSpec& spec,
                                                       const PolicyOptions& options,
                                                       uint64_t run_seed) {
  R1_RETURN_IF_ERROR(CheckSpec(spec));
  if (options.device != "cpu") {
    return CreateAtenPolicy(spec,
                            {.activation_recompute = options.activation_recompute,
                             .device = options.device,
                             .bf16 = true},
                            run_seed);
  }
  R1_ASSIGN_OR_RETURN(const kernels::IsaName isa, kernels::ParseIsa(options.isa));
  UseTensorPool();
  auto policy = std::make_unique<TorchPolicy>(spec, options, CpuKernelsFor(isa));
  policy->Initialize(run_seed);
  return policy;
}

}  // namespace r1::learner
