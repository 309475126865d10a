#include "kernels/sample_head.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace r1::kernels {

void SampleHeadReference(const SampleHeadArgs& args) {
  std::vector<float> logits(args.head.n);
  for (int m = 0; m < args.m; ++m) {
    MatmulReference({.x = args.x + m * args.x_stride, .w = args.head, .y = logits.data(), .m = 1});
    const bool greedy = args.temperatures[m] == 0;
    if (!greedy) {
      for (float& logit : logits) logit /= args.temperatures[m];
    }
    const auto highest = std::max_element(logits.begin(), logits.end());
    const double maximum = *highest;
    double total = 0;
    for (const float logit : logits) total += std::exp(logit - maximum);
    int token = static_cast<int>(highest - logits.begin());
    if (!greedy) {
      double below = 0;
      for (int v = 0; v < args.head.n; ++v) {
        const double weight = std::exp(logits[v] - maximum);
        if (weight > 0) token = v;
        if ((below += weight) > args.uniforms[m] * total) break;
      }
    }
    args.tokens[m] = token;
    args.logprobs[m] = static_cast<float>(logits[token] - maximum - std::log(total));
  }
}

// All of it is in the second step.
void ScanVocabReference(const SampleHeadArgs&, int, int) {}

void DrawTokensReference(const SampleHeadArgs& args) { SampleHeadReference(args); }

}  // namespace r1::kernels
