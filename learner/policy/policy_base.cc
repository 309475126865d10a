#include "learner/policy/policy_base.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rng.h"

namespace r1::learner {
namespace {

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

}  // namespace

PolicyBase::PolicyBase(const ModelSpec& spec, at::Tensor parameters)
    : spec_(spec), parameters_(std::move(parameters)) {
  R1_CHECK(parameters_.numel() == spec_.parameters());
  int64_t trained = 0, biases = 0;
  for (const WeightSpec& weight : spec_.weights) {
    int64_t& size = weight.trainable() ? trained : biases;
    (weight.trainable() ? offsets_ : bias_offsets_).push_back(size);
    (weight.trainable() ? bias_offsets_ : offsets_).push_back(-1);
    size += weight.elements();
  }
  router_biases_.resize(static_cast<size_t>(biases));
}

void PolicyBase::Initialize(uint64_t run_seed) {
  ++accesses_;
  for (size_t w = 0; w < spec_.weights.size(); ++w) {
    const WeightSpec& weight = spec_.weights[w];
    if (weight.is_norm()) {
      std::ranges::fill(Values(w), 1.0f);
    } else if (weight.trainable()) {
      FillNormal(Rng(run_seed, 0, RngPurpose::kInit, w, 0), weight.init_std, Values(w));
    }
  }
}

std::span<float> PolicyBase::parameters() {
  ++accesses_;
  return {parameters_.mutable_data_ptr<float>(), static_cast<size_t>(parameters_.numel())};
}

std::span<float> PolicyBase::router_biases() {
  ++accesses_;
  return router_biases_;
}

std::span<float> PolicyBase::Values(size_t weight) {
  const auto size = static_cast<size_t>(spec_.weights[weight].elements());
  if (offsets_[weight] < 0) return {router_biases_.data() + bias_offsets_[weight], size};
  return {parameters_.mutable_data_ptr<float>() + offsets_[weight], size};
}

std::span<const float> PolicyBase::Values(size_t weight) const {
  return const_cast<PolicyBase*>(this)->Values(weight);
}

absl::Status PolicyBase::CheckInput(const PackedBatch& batch, double temperature) const {
  if (!(temperature > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("policy: expected a temperature above 0, found ", temperature));
  }
  return batch.Check(spec_.vocab, spec_.positions_max);
}

absl::StatusOr<std::vector<float>> PolicyBase::Logprobs(const PackedBatch& batch,
                                                        double temperature, ForwardStats* stats) {
  R1_RETURN_IF_ERROR(CheckInput(batch, temperature));
  if (batch.target_count() == 0) return std::vector<float>();
  return CatchTorch([&]() -> absl::StatusOr<std::vector<float>> {
    return ComputeLogprobs(batch, temperature, stats);
  });
}

absl::StatusOr<std::vector<float>> PolicyBase::Logits(const PackedBatch& batch) {
  R1_RETURN_IF_ERROR(CheckInput(batch, 1));
  if (batch.target_count() == 0) return std::vector<float>();
  return CatchTorch([&]() -> absl::StatusOr<std::vector<float>> { return ComputeLogits(batch); });
}

absl::StatusOr<double> PolicyBase::ForwardBackward(const PackedBatch& batch, double temperature,
                                                   const LossFunction& loss,
                                                   std::span<float> gradient, ForwardStats* stats) {
  R1_CHECK(static_cast<int64_t>(gradient.size()) == parameters_.numel());
  R1_RETURN_IF_ERROR(CheckInput(batch, temperature));
  if (batch.target_count() == 0) {
    return absl::InvalidArgumentError("policy: a batch without targets has no loss");
  }
  return CatchTorch([&] { return Differentiate(batch, temperature, loss, gradient, stats); });
}

absl::StatusOr<PolicyBase::LossValue> PolicyBase::Evaluate(const LossFunction& loss,
                                                           const at::Tensor& logprobs,
                                                           const PackedBatch& batch) {
  const at::AutoGradMode recording(true);
  const at::Tensor leaf = logprobs.detach().set_requires_grad(true);
  const at::Tensor result = loss(leaf);
  const auto value = result.item<double>();
  if (!std::isfinite(value)) {
    return absl::DataLossError(absl::StrCat("the loss of a micro-batch of ", batch.token_count(),
                                            " tokens is not finite: ", value));
  }
  return LossValue{.value = value, .dlogprobs = torch::autograd::grad({result}, {leaf})[0]};
}

absl::Status PolicyBase::NotFinite(size_t weight) const {
  return absl::DataLossError(
      absl::StrCat("the gradient of ", spec_.weights[weight].name, " is not finite"));
}

WeightsSnapshot PolicyBase::Snapshot(uint64_t policy_version) const {
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

absl::Status PolicyBase::Load(const WeightsSnapshot& weights) {
  R1_RETURN_IF_ERROR(CheckWeights(spec_, weights, "the learner's policy"));
  ++accesses_;
  for (size_t w = 0; w < spec_.weights.size(); ++w) {
    const std::span<float> values = Values(w);
    std::memcpy(values.data(), weights.tensors[w].bytes.data(), values.size_bytes());
  }
  return absl::OkStatus();
}

}  // namespace r1::learner
