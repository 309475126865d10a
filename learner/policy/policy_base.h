// What every implementation of Policy has: the flat fp32 master parameters and the router biases in
// host memory, their initial values, snapshots, and the value of a loss with its gradient to the
// logprobs. Passes are left to the implementations.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "learner/policy/policy.h"
#include "learner/policy/torch_headers.h"

namespace r1::learner {

class PolicyBase : public Policy {
 public:
  const ModelSpec& spec() const override { return spec_; }
  std::span<float> parameters() override;
  const std::vector<int64_t>& parameter_offsets() const override { return offsets_; }
  std::span<float> router_biases() override;

  absl::StatusOr<std::vector<float>> Logprobs(const PackedBatch& batch, double temperature,
                                              ForwardStats* stats) final;
  absl::StatusOr<std::vector<float>> Logits(const PackedBatch& batch) final;
  absl::StatusOr<double> ForwardBackward(const PackedBatch& batch, double temperature,
                                         const LossFunction& loss, std::span<float> gradient,
                                         ForwardStats* stats) final;

  WeightsSnapshot Snapshot(uint64_t policy_version) const override;
  absl::Status Load(const WeightsSnapshot& weights) override;

  // Random weights of a run's seed.
  void Initialize(uint64_t run_seed);

 protected:
  // `parameters` [ModelSpec::parameters()] is zero, contiguous fp32 in host memory.
  PolicyBase(const ModelSpec& spec, at::Tensor parameters);

  // The passes themselves, for inputs that were checked. LibTorch's exceptions may leave them.
  virtual std::vector<float> ComputeLogprobs(const PackedBatch& batch, double temperature,
                                             ForwardStats* stats) = 0;
  virtual std::vector<float> ComputeLogits(const PackedBatch& batch) = 0;
  virtual absl::StatusOr<double> Differentiate(const PackedBatch& batch, double temperature,
                                               const LossFunction& loss, std::span<float> gradient,
                                               ForwardStats* stats) = 0;

  // The value of a loss that is finite, else DataLoss, and its gradient to `logprobs`, a leaf in
  // host memory.
  struct LossValue {
    double value = 0;
    at::Tensor dlogprobs;
  };
  static absl::StatusOr<LossValue> Evaluate(const LossFunction& loss, const at::Tensor& logprobs,
                                            const PackedBatch& batch);
  // DataLoss: the gradient of this weight.
  absl::Status NotFinite(size_t weight) const;

  // A weight's or buffer's own memory.
  std::span<float> Values(size_t weight);
  std::span<const float> Values(size_t weight) const;

  // How often somebody has asked for memory that he may write to.
  uint64_t accesses() const { return accesses_; }
  const at::Tensor& parameters_tensor() const { return parameters_; }
  std::span<const float> biases() const { return router_biases_; }

 private:
  absl::Status CheckInput(const PackedBatch& batch, double temperature) const;

  const ModelSpec spec_;
  at::Tensor parameters_;             // [parameters]
  std::vector<float> router_biases_;  // [MoE layers * E]
  // For each of spec_.weights: its place in one of the two, -1 in the other.
  std::vector<int64_t> offsets_, bias_offsets_;
  std::atomic<uint64_t> accesses_ = 0;
};

}  // namespace r1::learner
