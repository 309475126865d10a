// A model's weights on the GPU, in bf16 and in the layouts of kernels/cuda, experts in FP8 if
// asked; norms and router biases in fp32. Loaded in place, so that captured graphs stay valid from
// one policy version to the next.
//
// Shape letters: D model, H heads, N key heads, K channels of a head, L latent channels, E routed
// experts, S shared ones, I width of an expert, V vocabulary.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "common/weights.h"
#include "rollout/engine/cuda/device_memory.h"

namespace r1::rollout {

struct DeviceAttention {
  float* norm = nullptr;      // [D]
  uint8_t* input = nullptr;   // D -> [query or query_down | kv_down], or [queries | keys | values]
  uint8_t* output = nullptr;  // H * v, or H * K -> D
  // Of the compressed query, null = no compression; or of every query head [K], null = none.
  float* query_norm = nullptr;
  // Of latent attention.
  uint8_t* query_up = nullptr;    // only with query compression
  float* latent_norm = nullptr;   // [L]
  uint8_t* key_absorb = nullptr;  // [H], each nope -> L
  uint8_t* value_up = nullptr;    // [H], each L -> v
  uint8_t* kv_up = nullptr;       // L -> [H][nope | v]; null unless prompts are multiplied out
  // Of grouped-query attention; null = none.
  float* input_bias = nullptr;  // [(H + 2 N) * K]
  float* key_norm = nullptr;    // [K], of every key head
};

// A dense MLP, or the experts of a layer: E routed ones, then S shared ones.
struct DeviceMlp {
  uint8_t* gate_up = nullptr;
  uint8_t* down = nullptr;
  bool fp8 = false;                 // gate_up and down, of experts
  __nv_bfloat16* router = nullptr;  // [E, D]
  float* router_bias = nullptr;     // [E]; null = none
};

struct DeviceLayer {
  DeviceAttention attention;
  float* mlp_norm = nullptr;  // [D]
  DeviceMlp mlp;
};

class DeviceModel {
 public:
  // ResourceExhausted when the weights do not fit into the GPU's memory. `spec` outlives the model.
  [[nodiscard]] static absl::StatusOr<DeviceModel> Allocate(const ModelSpec& spec,
                                                            bool fp8_experts);

  // InvalidArgument when the snapshot does not fit the spec, with the old weights in place. Returns
  // when the weights can be used on `stream` and the snapshot is no longer read.
  [[nodiscard]] absl::Status Load(const WeightsSnapshot& weights, cudaStream_t stream);

  const DeviceLayer& layer(int i) const { return layers_[i]; }
  const __nv_bfloat16* embedding() const { return embedding_; }  // [V, D]
  const float* final_norm() const { return final_norm_; }        // [D]
  const uint8_t* head() const { return head_; }                  // D -> V

 private:
  DeviceModel(const ModelSpec& spec, bool fp8_experts)
      : spec_(&spec), fp8_experts_(fp8_experts), layers_(spec.layers.size()) {}
  // Sets all pointers; the bytes taken.
  int64_t Place(uint8_t* base);

  friend class DeviceModelLoader;

  const ModelSpec* spec_;
  bool fp8_experts_;
  DeviceMemory memory_;
  std::vector<DeviceLayer> layers_;
  __nv_bfloat16* embedding_ = nullptr;
  float* final_norm_ = nullptr;
  uint8_t* head_ = nullptr;
};

}  // namespace r1::rollout
