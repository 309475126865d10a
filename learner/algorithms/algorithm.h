// A policy-gradient algorithm: advantages of a group, and the loss of each token. One file each
// (grpo.cc), registered by name; variants that differ only in parameters (Dr.GRPO, DAPO) are config
// presets, not files. How token losses become one number is learner/algorithms/loss_aggregation.h.
//
// Shape letters: G samples of a group, N target tokens of a micro-batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/registry.h"
#include "proto/config.pb.h"

namespace r1::learner {

struct TokenLossInputs {
  at::Tensor logprobs;      // [N] of the policy being trained; carries the gradient
  at::Tensor old_logprobs;  // [N] of the learner before the step's first update; no gradient
  at::Tensor reference_logprobs = {};  // [N], undefined when kl_coef is 0
  at::Tensor advantages;               // [N], each token has its sample's
  at::Tensor sequences = {};           // [N] int64, index of the token's sequence; ascending
  double kl_coef = 0;
};

// Sums over tokens, for metrics; divided by the token count after all micro-batches and ranks are
// in.
struct TokenLossSums {
  double tokens = 0;
  double clipped_low = 0;  // tokens whose gradient the lower bound cut
  double clipped_high = 0;
  double kl_ref = 0;     // k3 estimate, in nats
  double kl_old = 0;     // k3 estimate of KL(old || new)
  double ratio_max = 0;  // a maximum, not a sum
};

class Algorithm {
 public:
  virtual ~Algorithm() = default;
  // Advantages [G] of one group from its rewards [G]. Equal rewards give exactly 0. G >= 1; all
  // finite.
  virtual std::vector<double> Advantages(std::span<const double> rewards_G) const = 0;
  // Loss of each token [N] with gradient to inputs.logprobs.
  virtual at::Tensor TokenLoss(const TokenLossInputs& inputs, TokenLossSums* sums) const = 0;
};

using AlgorithmRegistry = Registry<std::unique_ptr<Algorithm>(const v1::GrpoConfig& config)>;

}  // namespace r1::learner
