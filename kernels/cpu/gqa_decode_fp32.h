// gqa_decode.h on the vectors of simd_*.h.
#pragma once

#include "kernels/cpu/attention_heads_fp32.h"
#include "kernels/gqa_decode.h"

namespace r1::kernels {

template <class V>
void GqaDecodeFp32(const GqaDecodeArgs& args) {
  const int shared = args.heads / args.kv_heads;
  for (int row = 0; row < args.row_count; ++row) {
    AttentionContext context = {.cache = args.cache,
                                .block_table = args.block_tables[row],
                                .tokens = args.contexts[row],
                                .key_width = args.head_dim,
                                .value_offset = args.head_dim,
                                .value_width = args.head_dim,
                                .scale = args.scale};
    for (int kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
      context.cache.blocks = args.cache.blocks + int64_t{kv_head} * 2 * args.head_dim;
      for (int member = 0; member < shared; member += 4) {
        const int head_count = shared - member < 4 ? shared - member : 4;
        const float* q[4];
        float* out[4];
        for (int h = 0; h < 4; ++h) {
          const int index = kv_head * shared + member + (h < head_count ? h : head_count - 1);
          q[h] = args.q + row * args.q_stride + index * args.head_dim;
          out[h] = args.out + row * args.out_stride + index * args.head_dim;
        }
        AttendHeads<V>(context, head_count, q, out);
      }
    }
  }
}

}  // namespace r1::kernels
