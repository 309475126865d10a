// ModelSpec: an architecture as data. Layers are built from a closed list of operators with
// parameters; the rollout engine and the learner both interpret it. A family file (deepseek_v3.cc)
// turns a Hugging Face config.json into a ModelSpec with the names of its weights; it runs no
// mathematics.
//
// Shape letters: D model, H heads, E experts, V vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/registry.h"
#include "common/status.h"

namespace r1 {

// Rotary position embedding of the last `dim` channels of each query and key head. Pair i turns by
// position * inverse_frequencies[i].
struct RopeSpec {
  int dim = 0;
  bool interleaved = true;  // pairs (2i, 2i+1), as in DeepSeek; false: pairs (i, i + dim/2)
  std::vector<float> inverse_frequencies;  // [dim / 2], scaling for longer contexts included
  float magnitude = 1;                     // times cosines and sines (YaRN, 2309.00071 §3.4)
  bool operator==(const RopeSpec&) const = default;
};
// theta^(-2i / dim), without scaling (2104.09864).
RopeSpec PlainRope(int dim, double theta, bool interleaved);

// Multi-head latent attention (DeepSeek-V2, 2405.04434 §2.1). Keys and values come from one
// normalised latent per token and one shared rotary key.
struct MlaSpec {
  int heads = 0;
  int q_lora_rank = 0;  // 0 = no query compression
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0;
  int qk_rope_head_dim = 0;
  int v_head_dim = 0;
  double latent_norm_eps = 1e-6;
  double softmax_scale = 0;      // (qk_nope + qk_rope)^-1/2, times YaRN's mscale squared
  bool projection_bias = false;  // of kQueryDown, kKvDown and kOutput
  RopeSpec rope;
};

// Grouped-query attention (2305.13245): heads / kv_heads query heads share a key and a value head;
// kv_heads == heads is multi-head attention.
struct GqaSpec {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  double softmax_scale = 0;  // head_dim^-1/2
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;  // RMSNorm of every query and key head, before the rotation (Qwen3)
  double qk_norm_eps = 1e-6;
  RopeSpec rope;  // dim == head_dim
};

// SwiGLU: down(silu(gate(x)) * up(x)).
struct DenseMlpSpec {
  int intermediate = 0;
  bool bias = false;  // of gate, up and down
};

// How router logits become scores, and how experts are chosen by them.
enum class MoeGate {
  kSigmoidBias,  // DeepSeek-V3: sigmoid; chosen by score + correction bias; a group's score is the
                 // sum of its two best choices
  kSoftmax,      // DeepSeek-V2, Qwen3: softmax over all experts; a group's score is its best one
};

// Routed experts (DeepSeek-V3, 2412.19437 §2.1.2) with optional shared experts, all SwiGLU.
struct MoeSpec {
  MoeGate gate = MoeGate::kSigmoidBias;
  int experts = 0;
  int experts_per_token = 0;
  int intermediate = 0;         // width of a routed expert
  int shared_intermediate = 0;  // width of the shared experts together; 0 = none
  int expert_groups = 1;        // group-limited routing
  int expert_groups_kept = 1;
  bool normalize_weights = true;  // divide the chosen scores by their sum (+ 1e-20)
  double routed_scaling_factor = 1;
};

struct LayerSpec {
  // Exactly one is set.
  std::optional<MlaSpec> mla;
  std::optional<GqaSpec> gqa;
  // Exactly one is set.
  std::optional<DenseMlpSpec> dense;
  std::optional<MoeSpec> moe;
  const RopeSpec& rope() const { return mla.has_value() ? mla->rope : gqa->rope; }
};

// What a weight is to the operator that reads it. Matrices are [out, in], as in a Hugging Face
// checkpoint.
enum class WeightRole {
  kEmbedding,      // [V, D]
  kFinalNorm,      // [D]
  kHead,           // [V, D]; absent when the embedding is tied
  kAttentionNorm,  // [D]
  // Of multi-head latent attention, which also has kQuery, [H * (nope + rope), D] or
  // [H * (nope + rope), q_lora_rank], and kOutput, [D, H * v].
  kQueryDown,      // [q_lora_rank, D]
  kQueryNorm,      // [q_lora_rank]
  kKvDown,         // [kv_lora_rank + rope, D]
  kKvNorm,         // [kv_lora_rank]
  kKvUp,           // [H * (nope + v), kv_lora_rank], per head [k_nope | v]
  kQueryDownBias,  // [q_lora_rank]
  kKvDownBias,     // [kv_lora_rank + rope]
  // Of grouped-query attention: kQuery [H * head_dim, D], kOutput [D, H * head_dim].
  kQuery,
  kKey,    // [kv_heads * head_dim, D]
  kValue,  // [kv_heads * head_dim, D]
  kOutput,
  kQueryBias,      // [H * head_dim]
  kKeyBias,        // [kv_heads * head_dim]
  kValueBias,      // [kv_heads * head_dim]
  kOutputBias,     // [D]; of latent attention too
  kQueryHeadNorm,  // [head_dim]
  kKeyHeadNorm,    // [head_dim]
  kMlpNorm,        // [D]
  kGate,           // of a dense MLP: [intermediate, D]
  kUp,             // likewise
  kDown,           // [D, intermediate]
  kGateBias,       // [intermediate]
  kUpBias,         // [intermediate]
  kDownBias,       // [D]
  kRouter,         // [E, D]
  kRouterBias,     // [E], of MoeGate::kSigmoidBias; a buffer: not trained by gradients, fp32 always
  kExpertGate,     // one for each routed expert, shapes as for a dense MLP
  kExpertUp,
  kExpertDown,
  kSharedGate,  // the shared experts as one MLP
  kSharedUp,
  kSharedDown,
};

// One tensor of the checkpoint.
struct WeightSpec {
  std::string name;  // under its Hugging Face name
  std::vector<int64_t> shape;
  WeightRole role;
  int layer = -1;       // -1 = not of a layer
  int expert = -1;      // -1 = not of a routed expert
  double init_std = 0;  // of a normal distribution; norms start at 1, biases and buffers at 0
  bool trainable() const { return role != WeightRole::kRouterBias; }
  bool is_norm() const;
  bool is_expert() const;  // routed or shared
  int64_t elements() const;
};

struct ModelSpec {
  std::string family;  // "deepseek_v3"
  int hidden = 0;      // D
  int vocab = 0;       // V
  double rms_norm_eps = 1e-6;
  bool tie_embeddings = false;
  int positions_max = 0;
  // Multi-token-prediction layers that a checkpoint may hold after `layers`; they are skipped when
  // it is read.
  int mtp_layers = 0;
  // eos_token_id: tokens that end a text, beside the tokenizer's own. May be empty.
  std::vector<int32_t> eos_ids;
  std::vector<LayerSpec> layers;
  // In the order of a forward pass; the order of the learner's flat parameter buffer and of
  // published weights.
  std::vector<WeightSpec> weights;
  // The config.json that this spec was made from, verbatim (ReadModelSpec: without
  // quantization_config, since weights are dequantised); written into checkpoints.
  std::string hf_config_json;

  int64_t parameters() const;         // all trainable elements
  int64_t active_parameters() const;  // of one token: experts_per_token of the routed experts
  int64_t routed_experts() const;     // of all layers together
  // Index into weights; NotFound names role, layer and expert.
  absl::StatusOr<int> FindWeight(WeightRole role, int layer = -1, int expert = -1) const;

  // Makes FindWeight a hash look-up, and checks that no two weights have one name or one (role,
  // layer, expert). ParseModelSpec calls it; a spec that is put together by hand is searched from
  // the front instead.
  [[nodiscard]] absl::Status IndexWeights();
  std::unordered_map<uint64_t, int> weight_index;
};

// "expert_down", for errors and metrics.
std::string WeightRoleName(WeightRole role);

// config.json text -> ModelSpec. InvalidArgument names the key, what was expected and what was
// found.
using ModelFamilyRegistry = Registry<absl::StatusOr<ModelSpec>(const std::string& hf_config_json)>;

// Picks the family by `model_type`. InvalidArgument lists the known ones.
[[nodiscard]] absl::StatusOr<ModelSpec> ParseModelSpec(const std::string& hf_config_json);

// config.json of a Hugging Face folder. The eos_token_id of its generation_config.json, when there
// is one, goes before that of config.json, as in transformers. InvalidArgument names the file;
// NotFound: there is no config.json.
[[nodiscard]] absl::StatusOr<ModelSpec> ReadModelSpec(const std::string& folder);

// config.json of a built-in preset ("moe_mini", "qwen_tiny", …) for a vocabulary size. NotFound
// lists the presets.
[[nodiscard]] absl::StatusOr<std::string> PresetConfigJson(const std::string& preset, int vocab,
                                                           int bos_id, int eos_id);

}  // namespace r1
