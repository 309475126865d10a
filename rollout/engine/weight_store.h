// A model's weights in the layout that the kernels read: packed panels, gate and up interleaved,
// and the matrices of absorbed attention derived from the checkpoint's.
//
// With W_UK and W_UV the key and value parts of kv_up, and c the cached latents: q · (W_UK c) =
// (W_UK^T q) · c, so each head's query is multiplied by W_UK^T once and then meets the cache
// directly; and W_O Σ p (W_UV c) = (W_O W_UV) Σ p c. W_O W_UV is multiplied out in float64 when
// that saves work for a token (L * D <= v * (L + D)), which it does in small models. Not so in
// bf16: a product would be rounded a second time.
//
// Shape letters: D model, H heads, K channels of a head, L latent channels, R rotary channels.
#pragma once

#include <cstdint>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "common/weights.h"
#include "kernels/aligned_buffer.h"
#include "kernels/matmul.h"
#include "kernels/swiglu.h"

namespace r1::rollout {

// Type of the matrices' weights. Embedding, router, norms and biases are always fp32, and so is a
// matrix with an odd number of inputs.
using kernels::WeightType;

// Packed weights of one of the two types.
struct OwnedPanels {
  kernels::AlignedBuffer<float> fp32;
  kernels::AlignedBuffer<kernels::Bf16> bf16;
};

struct OwnedMatrix {
  OwnedPanels panels;
  kernels::PackedMatrix view;
};

// Biases are empty where the model has none.
struct MlpWeights {
  OwnedPanels gate_up_panels;
  kernels::PackedGateUp gate_up;
  std::vector<float> gate_bias;
  std::vector<float> up_bias;
  OwnedMatrix down;
  std::vector<float> down_bias;
};

struct MlaWeights {
  OwnedMatrix input;  // D -> [query or query_down | kv_down]
  std::vector<float> input_bias;
  std::vector<float> query_norm;        // only with query compression
  OwnedMatrix query_up;                 // only with query compression
  std::vector<float> latent_norm;       // [L]
  std::vector<OwnedMatrix> key_absorb;  // [H], each nope -> L
  std::vector<OwnedMatrix> value_up;    // [H], each L -> v; empty when it is part of `output`
  OwnedMatrix output;                   // H * v -> D, or H * L -> D
  std::vector<float> output_bias;
};

struct GqaWeights {
  OwnedMatrix input;  // D -> [queries | for each key head: key, value]
  std::vector<float> input_bias;
  std::vector<float> query_head_norm;  // [K], or empty
  std::vector<float> key_head_norm;    // likewise
  OwnedMatrix output;                  // H * K -> D
  std::vector<float> output_bias;
};

struct MoeWeights {
  OwnedMatrix router;
  std::vector<float> router_bias;  // empty under a softmax gate
  // Of all experts, one behind the other: large enough for huge pages, which are what lets memory
  // bring experts of a megabyte at full speed.
  OwnedPanels gate_up_panels;
  OwnedPanels down_panels;
  std::vector<kernels::PackedGateUp> gate_up;  // [E]
  std::vector<kernels::PackedMatrix> down;     // [E]
};

struct LayerWeights {
  std::vector<float> attention_norm;  // [D]
  MlaWeights mla;                     // one of the two is empty
  GqaWeights gqa;
  std::vector<float> mlp_norm;  // [D]
  MlpWeights mlp;               // the dense MLP, or the shared experts; empty when there is neither
  MoeWeights moe;               // empty in a dense layer
};

struct PackedModel {
  uint64_t policy_version = 0;
  std::vector<float> embedding;  // [V, D]
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;
  OwnedMatrix head;
};

// For optional operands of kernels.
inline const float* DataOrNull(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

// InvalidArgument when the snapshot does not fit the spec (CheckWeights).
[[nodiscard]] absl::StatusOr<PackedModel> PackModel(const ModelSpec& spec,
                                                    const WeightsSnapshot& weights,
                                                    WeightType type);

}  // namespace r1::rollout
