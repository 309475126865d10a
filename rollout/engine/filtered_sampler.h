// One draw from a whole row of logits under everything that a request can ask for. The fused kernel
// (kernels/sample_head.h) serves plain temperature sampling without ever holding such a row; this
// is the path of the rest. Plain loops in double precision: a token costs a few passes over the
// vocabulary, beside the D multiply-adds of each of its logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rollout/engine/engine.h"

namespace r1::rollout {

struct SamplingRule {
  double temperature = 1;  // 0 = greedy
  TokenFilter filter;
  // What the repetition penalty sees.
  std::span<const int32_t> prompt;
  std::span<const int32_t> response;
  bool raw_logprob = false;  // wanted
  double uniform = 0;        // in [0, 1)
};

struct DrawnToken {
  int32_t id = 0;
  // Under the distribution that was drawn from; greedy: the penalised logits at temperature 1. Not
  // a number when a logit is not finite.
  float logprob = 0;
  float raw_logprob = 0;  // of the logits as they are; only when wanted
};

// Keeps its memory from draw to draw. Not thread-safe.
class FilteredSampler {
 public:
  // Logits [V]. The token is drawn by the inverse of the distribution function in vocabulary order.
  DrawnToken Draw(const SamplingRule& rule, std::span<const float> logits);

 private:
  struct Candidate {
    float logit;
    int32_t id;
    double weight;  // e^(logit - maximum)
  };
  // The order of top-k and top-p; of equal logits the lower id comes first.
  static bool IsBetter(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }

  void Penalise(const SamplingRule& rule);
  void KeepTopK(int k);
  double Weigh();  // fills the weights; their sum
  void KeepTopP(double p, double total);

  std::vector<Candidate> candidates_;  // what is left, by id
  std::vector<Candidate> order_;       // scratch
  std::vector<bool> seen_;             // [V], all false between draws
};

}  // namespace r1::rollout
