// The loss of on-policy distillation: the student samples, and minimises KL(student || teacher) at
// the tokens that it has sampled (MiniLLM, 2306.08543; GKD, 2306.13649).
//
// For a sequence from the student, the gradient of the reverse KL is the expectation of
// (log p_student - log p_teacher) * grad log p_student, summed over the tokens, where the term of a
// token is its own log-ratio (MiniLLM's single-step part): a policy gradient whose advantage is
// log p_teacher - log p_student. Each token's estimate needs the teacher's logprob of that token
// only, never its whole distribution.
#pragma once

#include "learner/algorithms/algorithm.h"

namespace r1::learner {

// Advantages are 0: rewards teach nothing here. TokenLoss takes the teacher's logprobs as
// inputs.reference_logprobs, and weighs a token by the ratio to the policy that sampled it; inputs'
// advantages and kl_coef do not count. Sums count the k3 estimate of KL(student || teacher) as
// kl_ref.
class ReverseKl : public Algorithm {
 public:
  std::vector<double> Advantages(std::span<const double> rewards_G) const override;
  at::Tensor TokenLoss(const TokenLossInputs& inputs, TokenLossSums* sums) const override;
};

}  // namespace r1::learner
