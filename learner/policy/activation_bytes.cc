#include "learner/policy/activation_bytes.h"

#include <algorithm>
#include <vector>

namespace r1::learner {
namespace {

// Values a token.
struct LayerValues {
  int64_t kept = 0;      // besides the layer's input
  int64_t backward = 0;  // of the operator that needs most, its incoming gradient included
};

int64_t KeptByLatentAttention(const MlaSpec& a, int64_t hidden) {
  const int64_t queries = int64_t{a.heads} * (a.qk_nope_head_dim + a.qk_rope_head_dim);
  const int64_t kv = int64_t{a.heads} * (a.qk_nope_head_dim + a.v_head_dim);
  const int64_t compressed =
      a.q_lora_rank > 0 ? 2 * a.q_lora_rank + 1 : 0;  // before and after norm
  const int64_t latent = int64_t{a.kv_lora_rank} + a.qk_rope_head_dim + a.kv_lora_rank + 1;
  const int64_t attended = int64_t{a.heads} * a.v_head_dim + 2 * a.heads;  // softmax: two a head
  return hidden + 1 + compressed + queries + latent + kv + attended;
}

int64_t KeptByGroupedAttention(const GqaSpec& a, int64_t hidden) {
  const int64_t queries = int64_t{a.heads} * a.head_dim;
  const int64_t keys = int64_t{a.kv_heads} * a.head_dim;
  const int64_t normed = a.qk_norm ? queries + keys + a.heads + a.kv_heads : 0;
  return hidden + 1 + queries + 2 * keys + normed + queries + 2 * a.heads;
}

LayerValues ValuesOf(const LayerSpec& layer, int64_t hidden) {
  LayerValues values;
  values.kept = layer.mla.has_value() ? KeptByLatentAttention(*layer.mla, hidden)
                                      : KeptByGroupedAttention(*layer.gqa, hidden);
  values.kept += 2 * hidden + 1;  // the residual stream between the blocks, and its norm
  if (layer.dense.has_value()) {
    const int64_t width = layer.dense->intermediate;
    values.kept += 2 * width;
    values.backward = 4 * width + 2 * hidden;
    return values;
  }
  const MoeSpec& moe = *layer.moe;
  const int64_t active = moe.experts_per_token;
  values.kept += moe.experts + active + 2 * moe.shared_intermediate;
  values.kept += active * (hidden + 1 + 2 * int64_t{moe.intermediate});
  values.backward = active * (2 * hidden + 4 * int64_t{moe.intermediate}) + 2 * hidden;
  return values;
}

int64_t TrainableElements(const ModelSpec& spec, int layer) {
  int64_t elements = 0;
  for (const WeightSpec& weight : spec.weights) {
    if (weight.layer == layer && weight.trainable()) elements += weight.elements();
  }
  return elements;
}

}  // namespace

PassBytes TrainingPassBytes(const ModelSpec& spec, const PassShape& shape, int value_bytes) {
  const int64_t hidden = spec.hidden, head = int64_t{spec.vocab} * hidden;
  const int64_t stream = shape.tokens * hidden;
  std::vector<LayerValues> layers;
  std::vector<int64_t> weights;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    layers.push_back(ValuesOf(spec.layers[i], hidden));
    weights.push_back(TrainableElements(spec, static_cast<int>(i)));
  }

  // The residual stream between layers, and what each layer keeps.
  int64_t kept = stream;
  for (const LayerValues& layer : layers) {
    kept += stream + (shape.activation_recompute ? 0 : layer.kept * shape.tokens);
  }
  const int64_t head_kept = shape.targets * (2 * hidden + 3);

  // The head's gradient comes first; it is summed in pieces, so there are two of it.
  int64_t peak = kept + head_kept + 2 * head + shape.targets * hidden;
  int64_t gradients = head + hidden, held = kept + head_kept;
  for (size_t i = layers.size(); i-- > 0;) {
    const int64_t again = shape.activation_recompute ? layers[i].kept * shape.tokens : 0;
    gradients += weights[i];
    peak = std::max(peak, held + again + layers[i].backward * shape.tokens + gradients);
    held -= stream + (shape.activation_recompute ? 0 : layers[i].kept * shape.tokens);
  }
  gradients += spec.tie_embeddings ? 0 : head;
  peak = std::max(peak, held + stream + gradients);
  return {.kept = (kept + head_kept) * value_bytes,
          .gradients = gradients * value_bytes,
          .peak = peak * value_bytes};
}

}  // namespace r1::learner
