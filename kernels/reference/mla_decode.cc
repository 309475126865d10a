#include "kernels/mla_decode.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace r1::kernels {

void MlaDecodeReference(const MlaDecodeArgs& args) {
  const int width = args.cache.width;
  std::vector<float> weights;
  const auto cache_row = [&args](int row, int token) {
    const int32_t block = args.block_tables[row][token / args.cache.block_tokens];
    return args.cache.blocks + block * args.cache.block_stride +
           int64_t{token % args.cache.block_tokens} * args.cache.width;
  };
  for (int row = 0; row < args.row_count; ++row) {
    const int context = args.contexts[row];
    weights.resize(context);
    for (int head = 0; head < args.heads; ++head) {
      const float* q = args.q + row * args.q_stride + head * width;
      float* out = args.out + row * args.out_stride + head * args.latent;
      for (int token = 0; token < context; ++token) {
        const float* key = cache_row(row, token);
        float score = 0;
        for (int c = 0; c < width; ++c) score += q[c] * key[c];
        weights[token] = score * args.scale;
      }
      const float maximum = *std::max_element(weights.begin(), weights.end());
      float sum = 0;
      for (float& weight : weights) sum += weight = std::exp(weight - maximum);
      std::fill_n(out, args.latent, 0.0f);
      for (int token = 0; token < context; ++token) {
        const float* value = cache_row(row, token);
        for (int c = 0; c < args.latent; ++c) out[c] += weights[token] / sum * value[c];
      }
    }
  }
}

}  // namespace r1::kernels
