#include "learner/policy/gradient_norms.h"

#include <cmath>

#include "learner/policy/torch_headers.h"

namespace r1::learner {

absl::StatusOr<std::vector<std::pair<std::string, double>>> GradientNorms(
    Policy& policy, std::span<const PackedBatch> batches) {
  int64_t targets = 0;
  for (const PackedBatch& batch : batches) targets += batch.target_count();
  if (targets == 0) {
    return absl::InvalidArgumentError("gradient norms: no sequence has a second token to predict");
  }
  const double weight = -1 / static_cast<double>(targets);
  std::vector<float> gradient(policy.parameters().size());
  for (const PackedBatch& batch : batches) {
    if (batch.target_count() == 0) continue;
    R1_RETURN_IF_ERROR(
        policy
            .ForwardBackward(
                batch, 1, [weight](const at::Tensor& logprobs) { return logprobs.sum() * weight; },
                gradient, nullptr)
            .status());
  }
  std::vector<std::pair<std::string, double>> norms;
  for (size_t w = 0; w < policy.spec().weights.size(); ++w) {
    const WeightSpec& parameter = policy.spec().weights[w];
    if (!parameter.trainable()) continue;
    const float* const values = gradient.data() + policy.parameter_offsets()[w];
    double squares = 0;
    for (int64_t i = 0; i < parameter.elements(); ++i) squares += double{values[i]} * values[i];
    norms.emplace_back(parameter.name, std::sqrt(squares));
  }
  return norms;
}

}  // namespace r1::learner
