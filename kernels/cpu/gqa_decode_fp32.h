// gqa_decode.h on the vectors of simd_*.h.
#pragma once

#include "kernels/cpu/attention_heads_fp32.h"
#include "kernels/gqa_decode.h"

namespace r1::kernels {

template <class V>
void GqaDecodeFp32(const GqaDecodeArgs& args) {
  const int shared = args.heads / args.kv_heads;
  const int quads_of_each = (shared + 3) / 4;  // of a key head
  for (int row = 0; row < args.row_count; ++row) {
    const AttentionContext context = {.cache = args.cache,
                                      .block_table = args.block_tables[row],
                                      .tokens = args.contexts[row],
                                      .row_width = args.kv_heads * 2 * args.head_dim,
                                      .key_width = args.head_dim,
                                      .value_width = args.head_dim,
                                      .scale = args.scale};
    AttendQuads<V>(context, args.kv_heads * quads_of_each, [&](int index) {
      const int kv_head = index / quads_of_each;
      const int member = index % quads_of_each * 4;
      HeadQuad quad = {.head_count = shared - member < 4 ? shared - member : 4,
                       .keys = kv_head * 2 * args.head_dim,
                       .values = (kv_head * 2 + 1) * args.head_dim,
                       .q = {},
                       .out = {}};
      for (int h = 0; h < 4; ++h) {
        const int head =
            kv_head * shared + member + (h < quad.head_count ? h : quad.head_count - 1);
        quad.q[h] = args.q + row * args.q_stride + head * args.head_dim;
        quad.out[h] = args.out + row * args.out_stride + head * args.head_dim;
      }
      return quad;
    });
  }
}

}  // namespace r1::kernels
