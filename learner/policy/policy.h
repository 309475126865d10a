// The learner's differentiable forward pass for any ModelSpec, in LibTorch, over packed sequences.
// Parameters live in one flat fp32 buffer in the order of ModelSpec::weights (trainable ones), so
// that optimizer, all-reduce, publishing and checkpoints are operations on contiguous memory.
//
// Thread-safety: ForwardBackward may run from several threads at once (each with its own gradient
// buffer) while nothing changes the parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "common/weights.h"
#include "learner/policy/packed_batch.h"

namespace at {
class Tensor;
}

namespace r1::learner {

struct PolicyOptions {
  // Keep each layer's input only and compute the layer again in the backward pass: same bits, less
  // memory, about a third more time.
  bool activation_recompute = false;
  // Instruction set of the hand-written kernels (kernels/isa.h).
  std::string isa = "auto";
  // "cpu": in fp32, with those kernels. "cuda:N", as learner/policy/device.h resolves it: in bf16
  // (learner/policy/aten_policy.h).
  std::string device = "cpu";
};

// What a forward pass tells beside the logprobs.
struct ForwardStats {
  std::vector<float> entropy;        // [N], of the softmax at each target row, nats
  std::vector<int64_t> expert_load;  // [MoE layers * E], tokens routed to each expert
};

class Policy {
 public:
  // Random initial weights from Rng(run_seed, 0, kInit, weight index, 0). InvalidArgument: a model
  // that the kernels cannot compute, or a device that is not there.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Policy>> Create(const ModelSpec& spec,
                                                                      const PolicyOptions& options,
                                                                      uint64_t run_seed);
  virtual ~Policy() = default;

  virtual const ModelSpec& spec() const = 0;

  // Log-probability of every target token at a softmax temperature; no gradient.
  [[nodiscard]] virtual absl::StatusOr<std::vector<float>> Logprobs(const PackedBatch& batch,
                                                                    double temperature,
                                                                    ForwardStats* stats) = 0;

  // Logits [N, V] at the rows of the targets, row by row; no gradient.
  [[nodiscard]] virtual absl::StatusOr<std::vector<float>> Logits(const PackedBatch& batch) = 0;

  // The loss of a micro-batch as a function of its target logprobs [N] and entropies [N], a scalar
  // with gradient.
  using LossFunction = std::function<at::Tensor(const at::Tensor& logprobs_N)>;
  // Forward, loss, backward. Adds the gradient to `gradient` [parameters]. Returns the loss's
  // value.
  [[nodiscard]] virtual absl::StatusOr<double> ForwardBackward(const PackedBatch& batch,
                                                               double temperature,
                                                               const LossFunction& loss,
                                                               std::span<float> gradient,
                                                               ForwardStats* stats) = 0;

  // The flat fp32 master parameters, in host memory, and for each of spec().weights that is
  // trainable its offset (else -1). Who changes them asks for them anew each time: a policy that
  // computes on a device brings its copy up to date at the first pass after it was asked.
  virtual std::span<float> parameters() = 0;
  virtual const std::vector<int64_t>& parameter_offsets() const = 0;
  // Correction biases [MoE layers * E], fp32 buffers, likewise; none where the gates are softmaxes.
  virtual std::span<float> router_biases() = 0;

  // Copies, so that training may go on while it is read.
  virtual WeightsSnapshot Snapshot(uint64_t policy_version) const = 0;
  [[nodiscard]] virtual absl::Status Load(const WeightsSnapshot& weights) = 0;
};

}  // namespace r1::learner
