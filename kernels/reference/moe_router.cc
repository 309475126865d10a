#include "kernels/moe_router.h"

#include <cmath>

namespace r1::kernels {

void MoeRouterReference(const MoeRouterArgs& args) {
  float scores[kExpertsMax];
  for (int token = 0; token < args.token_count; ++token) {
    MatmulReference({.x = args.x + token * args.x_stride, .w = args.router, .y = scores, .m = 1});
    for (int e = 0; e < args.router.n; ++e) scores[e] = 1.0f / (1.0f + std::exp(-scores[e]));
    const int64_t first = int64_t{token} * args.active;
    ChooseExperts(args, scores, args.experts + first, args.weights + first);
  }
}

}  // namespace r1::kernels
