#include "learner/policy/policy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <numbers>
#include <utility>

#include "common/rng.h"
#include "kernels/isa.h"
#include "kernels/moe_router.h"
#include "learner/policy/forward_pass.h"
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

// LibTorch's exceptions end here.
template <typename F>
auto CatchTorch(F f) -> decltype(f()) {
  try {
    return f();
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what()));
  }
}

void FillNormal(Rng rng, double std, std::span<float> values) {
  for (size_t i = 0; i < values.size(); i += 2) {
    // Box-Muller; 1 - u is never 0.
    const double radius = std::sqrt(-2 * std::log(1 - rng.NextUniform()));
    const double angle = 2 * std::numbers::pi * rng.NextUniform();
    values[i] = static_cast<float>(std * radius * std::cos(angle));
    if (i + 1 < values.size()) values[i + 1] = static_cast<float>(std * radius * std::sin(angle));
  }
}

class TorchPolicy : public Policy {
 public:
  TorchPolicy(const ModelSpec& spec, const PolicyOptions& options, const CpuKernels& kernels)
      : spec_(spec), options_(options), kernels_(kernels) {
    int64_t parameters = 0, biases = 0;
    for (const WeightSpec& weight : spec_.weights) {
      int64_t& size = weight.trainable() ? parameters : biases;
      (weight.trainable() ? offsets_ : bias_offsets_).push_back(size);
      (weight.trainable() ? bias_offsets_ : offsets_).push_back(-1);
      size += weight.elements();
    }
    parameters_ = at::zeros({parameters}, at::kFloat);
    router_biases_.resize(static_cast<size_t>(biases));
    for (size_t w = 0; w < spec_.weights.size(); ++w) {
      const bool trainable = spec_.weights[w].trainable();
      bias_pointers_.push_back(trainable ? nullptr : Values(w).data());
      views_.push_back(trainable
                           ? at::from_blob(Values(w).data(), spec_.weights[w].shape, at::kFloat)
                           : at::Tensor());
    }
  }

  void Initialize(uint64_t run_seed) {
    for (size_t w = 0; w < spec_.weights.size(); ++w) {
      const WeightSpec& weight = spec_.weights[w];
      if (weight.is_norm()) {
        std::ranges::fill(Values(w), 1.0f);
      } else if (weight.trainable()) {
        FillNormal(Rng(run_seed, 0, RngPurpose::kInit, w, 0), weight.init_std, Values(w));
      }
    }
  }

  const ModelSpec& spec() const override { return spec_; }
  std::span<float> parameters() override {
    return {parameters_.mutable_data_ptr<float>(), static_cast<size_t>(parameters_.numel())};
  }
  const std::vector<int64_t>& parameter_offsets() const override { return offsets_; }
  std::span<float> router_biases() override { return router_biases_; }

  absl::StatusOr<std::vector<float>> Logprobs(const PackedBatch& batch, double temperature,
                                              ForwardStats* stats) override {
    R1_RETURN_IF_ERROR(CheckInput(batch, temperature));
    if (batch.target_count() == 0) return std::vector<float>();
    return CatchTorch([&]() -> absl::StatusOr<std::vector<float>> {
      ForwardPass pass = MakePass(batch, {.temperature = temperature});
      const at::Tensor logprobs = pass.Run(stats);
      const float* values = logprobs.const_data_ptr<float>();
      return std::vector<float>(values, values + logprobs.numel());
    });
  }

  absl::StatusOr<std::vector<float>> Logits(const PackedBatch& batch) override {
    R1_RETURN_IF_ERROR(CheckInput(batch, 1));
    if (batch.target_count() == 0) return std::vector<float>();
    return CatchTorch([&]() -> absl::StatusOr<std::vector<float>> {
      const at::Tensor logits = MakePass(batch, {}).Logits();
      const float* values = logits.const_data_ptr<float>();
      return std::vector<float>(values, values + logits.numel());
    });
  }

  absl::StatusOr<double> ForwardBackward(const PackedBatch& batch, double temperature,
                                         const LossFunction& loss, std::span<float> gradient,
                                         ForwardStats* stats) override {
    R1_CHECK(gradient.size() == parameters().size());
    R1_RETURN_IF_ERROR(CheckInput(batch, temperature));
    if (batch.target_count() == 0) {
      return absl::InvalidArgumentError("policy: a batch without targets has no loss");
    }
    return CatchTorch([&] { return Differentiate(batch, temperature, loss, gradient, stats); });
  }

  WeightsSnapshot Snapshot(uint64_t policy_version) const override;
  absl::Status Load(const WeightsSnapshot& weights) override;

 private:
  // A weight's or buffer's own memory.
  std::span<float> Values(size_t weight) {
    const auto size = static_cast<size_t>(spec_.weights[weight].elements());
    if (offsets_[weight] < 0) return {router_biases_.data() + bias_offsets_[weight], size};
    return {parameters_.mutable_data_ptr<float>() + offsets_[weight], size};
  }
  std::span<const float> Values(size_t weight) const {
    return const_cast<TorchPolicy*>(this)->Values(weight);
  }

  absl::Status CheckInput(const PackedBatch& batch, double temperature) const {
    if (!(temperature > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("policy: expected a temperature above 0, found ", temperature));
    }
    return batch.Check(spec_.vocab, spec_.positions_max);
  }

  ForwardPass MakePass(const PackedBatch& batch, PassOptions options) const {
    at::set_num_threads(1);
    options.activation_recompute = options_.activation_recompute;
    return ForwardPass(spec_, kernels_, views_, bias_pointers_, batch, options);
  }

  absl::StatusOr<double> Differentiate(const PackedBatch& batch, double temperature,
                                       const LossFunction& loss, std::span<float> gradient,
                                       ForwardStats* stats) const;

  const ModelSpec spec_;
  const PolicyOptions options_;
  const CpuKernels& kernels_;
  at::Tensor parameters_;             // [parameters], aligned for the matrix products
  std::vector<float> router_biases_;  // [MoE layers * E]
  // For each of spec_.weights: its place in one of the two, -1 or empty in the other.
  std::vector<int64_t> offsets_, bias_offsets_;
  Tensors views_;
  std::vector<const float*> bias_pointers_;
};

absl::StatusOr<double> TorchPolicy::Differentiate(const PackedBatch& batch, double temperature,
                                                  const LossFunction& loss,
                                                  std::span<float> gradient,
                                                  ForwardStats* stats) const {
  ForwardPass pass = MakePass(batch, {.with_gradient = true, .temperature = temperature});
  const at::Tensor logprobs = pass.Run(stats).set_requires_grad(true);
  double value = 0;
  at::Tensor dlogprobs;
  {
    const at::AutoGradMode recording(true);
    const at::Tensor result = loss(logprobs);
    value = result.item<double>();
    if (!std::isfinite(value)) {
      return absl::DataLossError(absl::StrCat("the loss of a micro-batch of ", batch.token_count(),
                                              " tokens is not finite: ", value));
    }
    dlogprobs = torch::autograd::grad({result}, {logprobs})[0];
  }
  const Tensors gradients = pass.Backward(dlogprobs);
  for (size_t w = 0; w < gradients.size(); ++w) {
    if (offsets_[w] < 0) continue;
    const at::Tensor contiguous = gradients[w].contiguous();
    if (!AllFinite(contiguous.const_data_ptr<float>(), contiguous.numel())) {
      return absl::DataLossError(
          absl::StrCat("the gradient of ", spec_.weights[w].name, " is not finite"));
    }
  }
  for (size_t w = 0; w < gradients.size(); ++w) {
    if (offsets_[w] < 0) continue;
    const at::Tensor contiguous = gradients[w].contiguous();
    const float* source = contiguous.const_data_ptr<float>();
    float* target = gradient.data() + offsets_[w];
    for (int64_t i = 0; i < contiguous.numel(); ++i) target[i] += source[i];
  }
  return value;
}

WeightsSnapshot TorchPolicy::Snapshot(uint64_t policy_version) const {
  WeightsSnapshot snapshot;
  snapshot.policy_version = policy_version;
  const auto storage = std::make_shared<std::vector<float>>();
  storage->reserve(static_cast<size_t>(parameters_.numel()) + router_biases_.size());
  for (size_t w = 0; w < spec_.weights.size(); ++w) {
    const std::span<const float> values = Values(w);
    storage->insert(storage->end(), values.begin(), values.end());
  }
  const float* next = storage->data();
  for (const WeightSpec& weight : spec_.weights) {
    const auto bytes = static_cast<size_t>(weight.elements()) * sizeof(float);
    snapshot.tensors.push_back({.name = weight.name,
                                .dtype = DType::kF32,
                                .shape = weight.shape,
                                .bytes = {reinterpret_cast<const char*>(next), bytes}});
    next += weight.elements();
  }
  snapshot.storage = storage;
  return snapshot;
}

absl::Status TorchPolicy::Load(const WeightsSnapshot& weights) {
  R1_RETURN_IF_ERROR(CheckWeights(spec_, weights, "the learner's policy"));
  for (size_t w = 0; w < spec_.weights.size(); ++w) {
    const std::span<float> values = Values(w);
    std::memcpy(values.data(), weights.tensors[w].bytes.data(), values.size_bytes());
  }
  return absl::OkStatus();
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
  R1_ASSIGN_OR_RETURN(const kernels::IsaName isa, kernels::ParseIsa(options.isa));
  R1_RETURN_IF_ERROR(CheckSpec(spec));
  UseTensorPool();
  auto policy = std::make_unique<TorchPolicy>(spec, options, CpuKernelsFor(isa));
  policy->Initialize(run_seed);
  return policy;
}

}  // namespace r1::learner
