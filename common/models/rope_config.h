// Rotary embeddings of a config.json, in both dialects of transformers: rope_theta + rope_scaling
// (published configs), or rope_parameters (transformers 5). Scalings: linear, YaRN (2309.00071) and
// Llama 3's (2407.21783 §3.2 names it; its rule is that of the model's published code).
#pragma once

#include "common/json.h"
#include "common/models/model_spec.h"
#include "common/status.h"

namespace r1 {

struct RopeConfig {
  RopeSpec rope;
  // Of the softmax scale: YaRN's mscale_all_dim, in DeepSeek's attention only (squared).
  double softmax_factor = 1;
  // Positions that the scaling makes room for: positions_max times its factor for linear and YaRN.
  int positions_max = 0;
};

// For `dim` rotated channels of a model trained for `positions_max` (max_position_embeddings).
// InvalidArgument names the key: a scaling, or a key of one, that is not known.
[[nodiscard]] absl::StatusOr<RopeConfig> ReadRope(const JsonFields& config, int dim,
                                                  bool interleaved, int positions_max);

}  // namespace r1
