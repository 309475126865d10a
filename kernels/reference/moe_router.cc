#include "kernels/moe_router.h"

#include <algorithm>
#include <cmath>

namespace r1::kernels {
namespace {

void Sigmoid(float* x, int count) {
  for (int i = 0; i < count; ++i) x[i] = 1.0f / (1.0f + std::exp(-x[i]));
}

void Softmax(float* x, int count) {
  const float maximum = *std::max_element(x, x + count);
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i] = std::exp(x[i] - maximum);
  for (int i = 0; i < count; ++i) x[i] /= sum;
}

}  // namespace

void MoeRouterReference(const MoeRouterArgs& args) {
  float scores[kExpertsMax];
  for (int token = 0; token < args.token_count; ++token) {
    MatmulReference({.x = args.x + token * args.x_stride, .w = args.router, .y = scores, .m = 1});
    args.gate == RouterGate::kSoftmax ? Softmax(scores, args.router.n)
                                      : Sigmoid(scores, args.router.n);
    const int64_t first = int64_t{token} * args.active;
    ChooseExperts(args, scores, args.experts + first, args.weights + first);
  }
}

}  // namespace r1::kernels
