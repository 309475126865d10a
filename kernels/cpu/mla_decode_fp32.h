// mla_decode.h on the vectors of simd_*.h.
#pragma once

#include "kernels/cpu/attention_heads_fp32.h"
#include "kernels/mla_decode.h"

namespace r1::kernels {

template <class V>
void MlaDecodeFp32(const MlaDecodeArgs& args) {
  for (int row = 0; row < args.row_count; ++row) {
    const AttentionContext context = {.cache = args.cache,
                                      .block_table = args.block_tables[row],
                                      .tokens = args.contexts[row],
                                      .key_width = args.cache.width,
                                      .value_offset = 0,
                                      .value_width = args.latent,
                                      .scale = args.scale};
    for (int head = 0; head < args.heads; head += 4) {
      const int head_count = args.heads - head < 4 ? args.heads - head : 4;
      const float* q[4];
      float* out[4];
      for (int h = 0; h < 4; ++h) {
        const int index = head + (h < head_count ? h : head_count - 1);
        q[h] = args.q + row * args.q_stride + index * args.cache.width;
        out[h] = args.out + row * args.out_stride + index * args.latent;
      }
      AttendHeads<V>(context, head_count, q, out);
    }
  }
}

}  // namespace r1::kernels
