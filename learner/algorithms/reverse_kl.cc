#include "learner/algorithms/reverse_kl.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "common/status.h"

namespace r1::learner {
namespace {

// As in grpo.cc: what is beyond it says nothing more, and its exponential fits a float.
constexpr double kLogRatioMax = 20;

double Sum(const at::Tensor& tensor) { return tensor.sum(at::kDouble).item<double>(); }

}  // namespace

std::vector<double> ReverseKl::Advantages(std::span<const double> rewards_G) const {
  return std::vector<double>(rewards_G.size(), 0.0);
}

// -ratio * (log p_teacher - log p_old): at the step's first update the ratio is 1 and its gradient
// that of log p_student.
at::Tensor ReverseKl::TokenLoss(const TokenLossInputs& inputs, TokenLossSums* sums) const {
  R1_CHECK(inputs.reference_logprobs.defined());
  const at::Tensor log_ratio =
      (inputs.logprobs - inputs.old_logprobs).clamp(-kLogRatioMax, kLogRatioMax);
  const at::Tensor ratio = log_ratio.exp();
  const at::Tensor advantage =
      (inputs.reference_logprobs - inputs.old_logprobs).clamp(-kLogRatioMax, kLogRatioMax);
  if (sums != nullptr) {
    const at::Tensor detached = ratio.detach();
    const at::Tensor log_rho =
        (inputs.reference_logprobs - inputs.logprobs.detach()).clamp(-kLogRatioMax, kLogRatioMax);
    sums->tokens += static_cast<double>(detached.numel());
    sums->kl_old += Sum(detached - log_ratio.detach() - 1);
    sums->kl_ref += Sum(log_rho.exp() - log_rho - 1);
    sums->ratio_max = std::max(sums->ratio_max, detached.max().item<double>());
  }
  return -(ratio * advantage);
}

}  // namespace r1::learner
