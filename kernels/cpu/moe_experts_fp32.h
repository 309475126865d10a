// moe_experts.h on the vectors of simd_*.h.
#pragma once

#include "kernels/cpu/matmul_fp32.h"
#include "kernels/cpu/swiglu_fp32.h"
#include "kernels/moe_experts.h"

namespace r1::kernels {

template <class V>
void MoeExpertsFp32(const MoeExpertsArgs& args) {
  ForExpertRows(args, [&args](int expert, int place, int count) {
    const PackedGateUp& gate_up = args.gate_up[expert];
    const PackedMatrix& down = args.down[expert];
    int next = expert;  // of the places behind these
    while (next + 1 < args.expert_count && args.offsets[next + 1] <= place + count) ++next;
    SwigluFp32<V>({.x = args.x,
                   .x_stride = args.x_stride,
                   .rows = args.tokens + place,
                   .w = gate_up,
                   .y = args.hidden,
                   .y_stride = gate_up.intermediate,
                   .m = count,
                   .next = down.panels});
    MatmulFp32<V>({.x = args.hidden,
                   .x_stride = gate_up.intermediate,
                   .w = down,
                   .y = args.results + int64_t{place} * down.n,
                   .y_stride = down.n,
                   .m = count,
                   .next = place + count < args.place_end ? args.gate_up[next].panels : Panels()});
  });
}

template <class V>
void MoeCombineFp32(const MoeCombineArgs& args) {
  for (int token = 0; token < args.token_count; ++token) {
    const int32_t* places = args.places + int64_t{token} * args.active;
    const float* weights = args.weights + int64_t{token} * args.active;
    float* y = args.y + token * args.y_stride;
    for (int c = 0; c < args.columns; c += 16) {
      const int lanes = args.columns - c < 16 ? args.columns - c : 16;
      typename V::F sum = V::LoadFirst(y + c, lanes);
      for (int a = 0; a < args.active; ++a) {
        const float* result = args.results + int64_t{places[a]} * args.columns + c;
        sum = V::MulAdd(V::Set1(weights[a]), V::LoadFirst(result, lanes), sum);
      }
      V::StoreFirst(y + c, sum, lanes);
    }
  }
}

}  // namespace r1::kernels
