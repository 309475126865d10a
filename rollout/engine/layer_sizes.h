// Widths of a layer's activations and of its part of the KV cache, in floats a token, and whether
// the kernels can run a ModelSpec at all.
//
// Shape letters: D model, H heads, N key heads, K channels of a head, L latent channels, R rotary
// channels.
#pragma once

#include <cstdint>

#include "common/models/model_spec.h"
#include "common/status.h"

namespace r1::rollout {

// Multi-head latent attention.
inline int QueryWidth(const MlaSpec& a) {
  return a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim);
}
inline int CacheWidth(const MlaSpec& a) { return a.kv_lora_rank + a.qk_rope_head_dim; }  // L + R
// Columns of the first projection before the latent begins.
inline int InputQueryWidth(const MlaSpec& a) {
  return a.q_lora_rank > 0 ? a.q_lora_rank : QueryWidth(a);
}

// Grouped-query attention.
inline int QueryWidth(const GqaSpec& a) { return a.heads * a.head_dim; }
inline int CacheWidth(const GqaSpec& a) { return a.kv_heads * 2 * a.head_dim; }  // [N][key | value]

inline int CacheWidth(const LayerSpec& layer) {
  return layer.mla.has_value() ? CacheWidth(*layer.mla) : CacheWidth(*layer.gqa);
}

// What a token needs in the buffers of a layer.
struct LayerSizes {
  int64_t input = 0;      // the first projection: queries or what they are made from, keys, values
  int64_t query = 0;      // queries behind their compression
  int64_t key = 0;        // a rotated key that is copied into the cache
  int64_t attended = 0;   // the queries that attention reads
  int64_t attention = 0;  // what attention gives
  int64_t values = 0;     // that, as values of each head
  int64_t mlp = 0;        // the hidden layer of the widest MLP
  int64_t active = 0;     // experts of a token
};
LayerSizes SizesOf(const LayerSpec& layer);
// The largest of each over the layers.
LayerSizes LargestSizes(const ModelSpec& spec);

// Bytes of the KV cache that one token takes, all layers together.
int64_t CacheBytesPerToken(const ModelSpec& spec);

// InvalidArgument: sizes that the kernels do not support; names the layer.
[[nodiscard]] absl::Status CheckSpec(const ModelSpec& spec);

}  // namespace r1::rollout
