#include "learner/policy/aten_policy.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "learner/policy/aten_forward_pass.h"
#include "learner/policy/policy_base.h"

namespace r1::learner {
namespace {

// Host memory that a GPU reads and writes without a detour.
at::TensorOptions HostOptions(const at::Device& device) {
  return at::TensorOptions(at::kFloat).pinned_memory(device.is_cuda());
}

std::vector<float> ToVector(const at::Tensor& host) {
  const at::Tensor contiguous = host.contiguous();
  const float* const values = contiguous.const_data_ptr<float>();
  return std::vector<float>(values, values + contiguous.numel());
}

class AtenPolicy : public PolicyBase {
 public:
  AtenPolicy(const ModelSpec& spec, const AtenPolicyOptions& options, const at::Device& device)
      : PolicyBase(spec, at::zeros({spec.parameters()}, HostOptions(device))),
        options_(options),
        device_(device),
        layout_(this->spec()),
        device_parameters_(at::empty({spec.parameters()}, at::TensorOptions(device))) {}

 private:
  std::vector<float> ComputeLogprobs(const PackedBatch& batch, double temperature,
                                     ForwardStats* stats) override {
    return ToVector(MakePass(batch, false, temperature).Run(stats));
  }

  std::vector<float> ComputeLogits(const PackedBatch& batch) override {
    return ToVector(MakePass(batch, false, 1).Logits());
  }

  absl::StatusOr<double> Differentiate(const PackedBatch& batch, double temperature,
                                       const LossFunction& loss, std::span<float> gradient,
                                       ForwardStats* stats) override {
    aten::ForwardPass pass = MakePass(batch, true, temperature);
    R1_ASSIGN_OR_RETURN(const LossValue result, Evaluate(loss, pass.Run(stats), batch));
    const at::Tensor computed = pass.Backward(result.dlogprobs);
    if (!computed.isfinite().all().item<bool>()) return NotFinite(FindNotFinite(computed));
    const at::Tensor host = at::empty(computed.sizes(), HostOptions(device_));
    host.copy_(computed);
    at::from_blob(gradient.data(), computed.sizes(), at::kFloat).add_(host);
    return result.value;
  }

  size_t FindNotFinite(const at::Tensor& gradient) const {
    for (size_t w = 0; w < spec().weights.size(); ++w) {
      const WeightSpec& weight = spec().weights[w];
      if (!weight.trainable()) continue;
      const at::Tensor own = gradient.narrow(0, parameter_offsets()[w], weight.elements());
      if (!own.isfinite().all().item<bool>()) return w;
    }
    R1_CHECK(false);
  }

  aten::ForwardPass MakePass(const PackedBatch& batch, bool with_gradient, double temperature) {
    at::set_num_threads(1);
    BringUpToDate();
    return aten::ForwardPass(spec(), layout_, device_parameters_, device_biases_, batch,
                             {.with_gradient = with_gradient,
                              .activation_recompute = options_.activation_recompute,
                              .temperature = temperature,
                              .dtype = options_.bf16 ? at::kBFloat16 : at::kFloat});
  }

  // Nobody changes the parameters while passes run, so who finds the copy fresh may go on.
  void BringUpToDate() {
    const absl::MutexLock lock(&mutex_);
    const uint64_t now = accesses();
    if (copied_at_ == now) return;
    device_parameters_.copy_(parameters_tensor());
    device_biases_ = at::empty({static_cast<int64_t>(biases().size())}, at::kFloat);
    std::ranges::copy(biases(), device_biases_.mutable_data_ptr<float>());
    device_biases_ = device_biases_.to(device_);
    copied_at_ = now;
  }

  const AtenPolicyOptions options_;
  const at::Device device_;
  const aten::Layout layout_;
  absl::Mutex mutex_;
  uint64_t copied_at_ ABSL_GUARDED_BY(mutex_) = 0;
  // Written under the mutex, before the first pass that reads them.
  at::Tensor device_parameters_;  // [parameters], fp32
  at::Tensor device_biases_;      // [MoE layers * E], fp32
};

}  // namespace

absl::StatusOr<std::unique_ptr<Policy>> CreateAtenPolicy(const ModelSpec& spec,
                                                         const AtenPolicyOptions& options,
                                                         uint64_t run_seed) {
  try {
    const at::Device device(options.device);
    // Sums of bf16 products stay fp32 until they are done.
    if (device.is_cuda()) at::globalContext().setAllowBF16ReductionCuBLAS(false);
    auto policy = std::make_unique<AtenPolicy>(spec, options, device);
    policy->Initialize(run_seed);
    return policy;
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("policy: device ", options.device, ": ", error.what()));
  }
}

}  // namespace r1::learner
