#include "common/models/model_costs.h"

#include <algorithm>
#include <cmath>

namespace r1 {
namespace {

bool IsRoutedExpert(const WeightSpec& weight) { return weight.expert >= 0; }
bool IsLookup(const ModelSpec& spec, const WeightSpec& weight) {
  return weight.role == WeightRole::kEmbedding && !spec.tie_embeddings;
}
double BytesOf(const WeightSpec& weight, const WeightBytes& bytes) {
  return static_cast<double>(weight.elements()) *
         (weight.is_expert() ? bytes.of_expert : bytes.of_other);
}

}  // namespace

double ProductFlops(const ModelSpec& spec) {
  double weights = 0;
  for (const WeightSpec& weight : spec.weights) {
    if (weight.shape.size() != 2 || IsLookup(spec, weight)) continue;
    double share = 1;
    if (IsRoutedExpert(weight)) {
      const MoeSpec& moe = *spec.layers[static_cast<size_t>(weight.layer)].moe;
      share = static_cast<double>(moe.experts_per_token) / moe.experts;
    }
    weights += share * static_cast<double>(weight.elements());
  }
  return 2 * weights;
}

double AttentionFlops(const ModelSpec& spec, double context, bool absorbed) {
  double channels = 0;  // of queries times keys, and of weights times values
  for (const LayerSpec& layer : spec.layers) {
    if (layer.gqa.has_value()) {
      channels += 2.0 * layer.gqa->heads * layer.gqa->head_dim;
      continue;
    }
    const MlaSpec& a = *layer.mla;
    const int key = absorbed ? a.kv_lora_rank : a.qk_nope_head_dim;
    const int value = absorbed ? a.kv_lora_rank : a.v_head_dim;
    channels += static_cast<double>(a.heads) * (key + a.qk_rope_head_dim + value);
  }
  return 2 * channels * context;
}

int64_t CacheValues(const ModelSpec& spec) {
  int64_t values = 0;
  for (const LayerSpec& layer : spec.layers) {
    values += layer.mla.has_value() ? layer.mla->kv_lora_rank + layer.mla->qk_rope_head_dim
                                    : 2 * layer.gqa->kv_heads * layer.gqa->head_dim;
  }
  return values;
}

double HeldBytes(const ModelSpec& spec, const WeightBytes& bytes) {
  double held = 0;
  for (const WeightSpec& weight : spec.weights) {
    if (weight.trainable()) held += BytesOf(weight, bytes);
  }
  return held;
}

double TouchedBytes(const ModelSpec& spec, double tokens, const WeightBytes& bytes) {
  double touched = 0;
  for (const WeightSpec& weight : spec.weights) {
    double share = 1;
    if (IsLookup(spec, weight)) {
      share = std::min(1.0, tokens / static_cast<double>(spec.vocab));
    } else if (IsRoutedExpert(weight)) {
      const MoeSpec& moe = *spec.layers[static_cast<size_t>(weight.layer)].moe;
      const double active = static_cast<double>(moe.experts_per_token) / moe.experts;
      share = 1 - std::pow(1 - active, tokens);
    }
    touched += share * BytesOf(weight, bytes);
  }
  return touched;
}

}  // namespace r1
