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
                                      .row_width = args.cache.width,
                                      .key_width = args.cache.width,
                                      .value_width = args.latent,
                                      .scale = args.scale};
    AttendQuads<V>(context, (args.heads + 3) / 4, [&](int index) {
      const int first = index * 4;
      HeadQuad quad = {.head_count = args.heads - first < 4 ? args.heads - first : 4,
                       .keys = 0,
                       .values = 0,
                       .q = {},
                       .out = {}};
      for (int h = 0; h < 4; ++h) {
        const int head = first + (h < quad.head_count ? h : quad.head_count - 1);
        quad.q[h] = args.q + row * args.q_stride + head * args.cache.width;
        quad.out[h] = args.out + row * args.out_stride + head * args.latent;
      }
      return quad;
    });
  }
}

}  // namespace r1::kernels
