#include "kernels/gqa_decode.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace r1::kernels {

void GqaDecodeReference(const GqaDecodeArgs& args) {
  std::vector<float> weights;
  for (int row = 0; row < args.row_count; ++row) {
    weights.resize(args.contexts[row]);
    for (int head = 0; head < args.heads; ++head) {
      const int kv_head = head / (args.heads / args.kv_heads);
      const auto key_of = [&](size_t token) {
        const int32_t block = args.block_tables[row][token / args.cache.block_tokens];
        return args.cache.blocks + block * args.cache.block_stride +
               token % args.cache.block_tokens * args.cache.width + kv_head * 2 * args.head_dim;
      };
      const float* q = args.q + row * args.q_stride + head * args.head_dim;
      float* out = args.out + row * args.out_stride + head * args.head_dim;
      for (size_t token = 0; token < weights.size(); ++token) {
        const float* key = key_of(token);
        float score = 0;
        for (int c = 0; c < args.head_dim; ++c) score += q[c] * key[c];
        weights[token] = score * args.scale;
      }
      const float maximum = *std::max_element(weights.begin(), weights.end());
      float sum = 0;
      for (float& weight : weights) sum += weight = std::exp(weight - maximum);
      std::fill_n(out, args.head_dim, 0.0f);
      for (size_t token = 0; token < weights.size(); ++token) {
        const float* value = key_of(token) + args.head_dim;
        for (int c = 0; c < args.head_dim; ++c) out[c] += weights[token] / sum * value[c];
      }
    }
  }
}

}  // namespace r1::kernels
