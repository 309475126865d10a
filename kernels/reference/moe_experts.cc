#include "kernels/moe_experts.h"

namespace r1::kernels {

void MoeExpertsReference(const MoeExpertsArgs& args) {
  ForExpertRows(args, [&args](int expert, int place, int count) {
    const PackedGateUp& gate_up = args.gate_up[expert];
    const PackedMatrix& down = args.down[expert];
    SwigluReference({.x = args.x,
                     .x_stride = args.x_stride,
                     .rows = args.tokens + place,
                     .w = gate_up,
                     .y = args.hidden,
                     .y_stride = gate_up.intermediate,
                     .m = count});
    MatmulReference({.x = args.hidden,
                     .x_stride = gate_up.intermediate,
                     .w = down,
                     .y = args.results + int64_t{place} * down.n,
                     .y_stride = down.n,
                     .m = count});
  });
}

void MoeCombineReference(const MoeCombineArgs& args) {
  for (int token = 0; token < args.token_count; ++token) {
    for (int a = 0; a < args.active; ++a) {
      const int64_t slot = int64_t{token} * args.active + a;
      const float* result = args.results + int64_t{args.places[slot]} * args.columns;
      for (int c = 0; c < args.columns; ++c) {
        args.y[token * args.y_stride + c] += args.weights[slot] * result[c];
      }
    }
  }
}

}  // namespace r1::kernels
