// The two attentions of a config.json: DeepSeek's latent attention and grouped-query attention.
#pragma once

#include "common/json.h"
#include "common/models/model_spec.h"
#include "common/status.h"

namespace r1 {

// Multi-head latent attention of every layer, and the positions that its rotary scaling allows
// (spec.positions_max). Needs what ReadSizes gives.
[[nodiscard]] absl::Status ReadLatentAttention(const JsonFields& config, bool interleaved,
                                               ModelSpec& spec);

// How a family's grouped-query attention differs from another's.
struct GqaTraits {
  int head_dim_missing = 0;  // what a missing head_dim stands for; 0 = hidden_size / heads
  int kv_heads_missing = 0;  // of num_key_value_heads; 0 = as many as there are heads
  bool qkv_bias = false;     // always; attention_bias adds those of q, k, v and o
  bool reads_attention_bias = true;
  bool qk_norm = false;
};

// Grouped-query attention of every layer, likewise.
[[nodiscard]] absl::Status ReadGroupedAttention(const JsonFields& config, const GqaTraits& traits,
                                                ModelSpec& spec);

// Qwen's sliding windows, which most configs name and none uses: refused by name where a layer
// would use one, which takes use_sliding_window, and a layer from max_window_layers on if the
// family looks at that.
[[nodiscard]] absl::Status RefuseSlidingWindow(const JsonFields& config, bool from_a_layer_on,
                                               const ModelSpec& spec);

}  // namespace r1
