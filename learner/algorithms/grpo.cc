// GRPO (DeepSeekMath 2402.03300 §4.1, eq. 3 and 4; DeepSeek-R1). Variants are parameters: Dr.GRPO
// is normalize_std = false with seq-mean-token-sum-norm, DAPO's clip-higher is clip_high > clip_low
// with token-mean and kl_coef = 0.

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "learner/algorithms/algorithm.h"

namespace r1::learner {
namespace {

// Keeps nearly equal rewards from being blown up; the same as verl's.
constexpr double kStdEpsilon = 1e-6;
// Log-ratios beyond this are cut: exp(20) is beyond any clip, and the square of it still fits a
// float.
constexpr double kLogRatioMax = 20;

double Sum(const at::Tensor& tensor) { return tensor.sum(at::kDouble).item<double>(); }

class Grpo : public Algorithm {
 public:
  explicit Grpo(const v1::GrpoConfig& config) : config_(config) {}

  // A = (r - mean) / (std + 1e-6) with Bessel's correction (the papers do not say which); r - mean
  // without normalize_std. A group of one has no baseline and gets 0.
  std::vector<double> Advantages(std::span<const double> rewards_G) const override {
    const auto count = static_cast<double>(rewards_G.size());
    std::vector<double> advantages(rewards_G.size(), 0.0);
    const auto [low, high] = std::minmax_element(rewards_G.begin(), rewards_G.end());
    if (rewards_G.size() < 2 || *low == *high) return advantages;
    double mean = 0;
    for (const double reward : rewards_G) mean += reward / count;
    double squares = 0;
    for (const double reward : rewards_G) squares += (reward - mean) * (reward - mean);
    const double scale =
        config_.normalize_std() ? 1 / (std::sqrt(squares / (count - 1)) + kStdEpsilon) : 1;
    for (size_t i = 0; i < rewards_G.size(); ++i) advantages[i] = (rewards_G[i] - mean) * scale;
    return advantages;
  }

  // -min(ratio A, clip(ratio) A) + kl_coef KL, each token.
  at::Tensor TokenLoss(const TokenLossInputs& inputs, TokenLossSums* sums) const override {
    const at::Tensor log_ratio =
        (inputs.logprobs - inputs.old_logprobs).clamp(-kLogRatioMax, kLogRatioMax);
    const at::Tensor ratio = log_ratio.exp();
    const at::Tensor bounded = ratio.clamp(1 - config_.clip_low(), 1 + config_.clip_high());
    at::Tensor loss = -at::minimum(ratio * inputs.advantages, bounded * inputs.advantages);
    AddSums(inputs, log_ratio.detach(), ratio.detach(), sums);
    if (inputs.kl_coef > 0) {
      loss = loss + Kl(inputs, ratio) * inputs.kl_coef;
    }
    return loss;
  }

 private:
  // KL(policy || reference), by the configured estimator (Schulman's k1, k2, k3).
  at::Tensor Kl(const TokenLossInputs& inputs, const at::Tensor& ratio) const {
    const at::Tensor log_rho =
        (inputs.reference_logprobs - inputs.logprobs).clamp(-kLogRatioMax, kLogRatioMax);
    if (config_.kl_estimator() == "k1") return -log_rho;
    if (config_.kl_estimator() == "k2") return log_rho.square() * 0.5;
    const at::Tensor k3 = log_rho.exp() - log_rho - 1;
    // DeepSeek-V3.2: the token's ratio makes the estimate's gradient unbiased when the samples are
    // off-policy.
    return config_.kl_estimator() == "k3_unbiased" ? k3 * ratio : k3;
  }

  void AddSums(const TokenLossInputs& inputs, const at::Tensor& log_ratio, const at::Tensor& ratio,
               TokenLossSums* sums) const {
    if (sums == nullptr) return;
    sums->tokens += static_cast<double>(ratio.numel());
    sums->clipped_low += Sum((ratio < 1 - config_.clip_low()) & (inputs.advantages < 0));
    sums->clipped_high += Sum((ratio > 1 + config_.clip_high()) & (inputs.advantages > 0));
    sums->kl_old += Sum(ratio - log_ratio - 1);
    sums->ratio_max = std::max(sums->ratio_max, ratio.max().item<double>());
    if (!inputs.reference_logprobs.defined()) return;
    const at::Tensor log_rho =
        (inputs.reference_logprobs - inputs.logprobs.detach()).clamp(-kLogRatioMax, kLogRatioMax);
    sums->kl_ref += Sum(log_rho.exp() - log_rho - 1);
  }

  const v1::GrpoConfig config_;
};

R1_REGISTER(AlgorithmRegistry, "grpo",
            [](const v1::GrpoConfig& config) { return std::make_unique<Grpo>(config); });

}  // namespace
}  // namespace r1::learner
