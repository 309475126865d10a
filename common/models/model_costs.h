// What a model costs, computed from its sizes: floating-point operations of a token, bytes of its
// KV cache, weights that a batch touches. A multiply-add is two operations.
#pragma once

#include <cstdint>

#include "common/models/model_spec.h"

namespace r1 {

// Of the matrix products of one token, at every layer and at the head. Lookups cost nothing.
double ProductFlops(const ModelSpec& spec);

// Of one token's attention over `context` tokens, all layers. Latent attention multiplies keys and
// values out when it is trained; absorbed, it attends over the latents, as generation does
// (DeepSeek-V2, 2405.04434 §2.1).
double AttentionFlops(const ModelSpec& spec, double context, bool absorbed);

// Values a token in the KV cache, all layers: latents and rotary keys, or keys and values.
int64_t CacheValues(const ModelSpec& spec);

// Bytes of a weight: of an expert, routed or shared, and of any other.
struct WeightBytes {
  double of_expert;
  double of_other;
};

// Bytes of all weights that are trained.
double HeldBytes(const ModelSpec& spec, const WeightBytes& bytes);

// Bytes of weights that a step over `tokens` tokens reads at least: of the routed experts those
// that uniform routing touches, everything else once.
double TouchedBytes(const ModelSpec& spec, double tokens, const WeightBytes& bytes);

}  // namespace r1
