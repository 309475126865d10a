#include "common/models/weight_list.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

// Appends weights with their names and shapes, in the order of a forward pass.
class WeightLister {
 public:
  explicit WeightLister(ModelSpec& spec) : spec_(spec) {}

  void List() {
    Add({.name = "model.embed_tokens.weight",
         .shape = {spec_.vocab, spec_.hidden},
         .role = WeightRole::kEmbedding,
         .init_std = spec_.tie_embeddings ? 1 / std::sqrt(static_cast<double>(spec_.hidden)) : 1});
    for (size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      layer_ = static_cast<int>(layer);
      prefix_ = absl::StrCat("model.layers.", layer, ".");
      ListLayer(spec_.layers[layer]);
    }
    layer_ = -1;
    prefix_.clear();
    Vector("model.norm.weight", WeightRole::kFinalNorm, spec_.hidden);
    if (!spec_.tie_embeddings) {
      Matrix("lm_head.weight", WeightRole::kHead, spec_.vocab, spec_.hidden);
    }
  }

 private:
  struct MlpRoles {
    WeightRole gate;
    WeightRole up;
    WeightRole down;
  };

  void ListLayer(const LayerSpec& layer) {
    Vector("input_layernorm.weight", WeightRole::kAttentionNorm, spec_.hidden);
    if (layer.mla.has_value()) {
      ListLatentAttention(*layer.mla);
    } else {
      ListGroupedAttention(*layer.gqa);
    }
    Vector("post_attention_layernorm.weight", WeightRole::kMlpNorm, spec_.hidden);
    if (layer.moe.has_value()) return ListMoe(*layer.moe);
    const int64_t intermediate = layer.dense->intermediate;
    ListMlp("mlp.", {WeightRole::kGate, WeightRole::kUp, WeightRole::kDown}, intermediate);
    if (!layer.dense->bias) return;
    Vector("mlp.gate_proj.bias", WeightRole::kGateBias, intermediate);
    Vector("mlp.up_proj.bias", WeightRole::kUpBias, intermediate);
    Vector("mlp.down_proj.bias", WeightRole::kDownBias, spec_.hidden);
  }

  void ListLatentAttention(const MlaSpec& a) {
    const int64_t query = int64_t{a.heads} * (a.qk_nope_head_dim + a.qk_rope_head_dim);
    const int64_t kv_down = a.kv_lora_rank + a.qk_rope_head_dim;
    if (a.q_lora_rank == 0) {
      Matrix("self_attn.q_proj.weight", WeightRole::kQuery, query, spec_.hidden);
    } else {
      Matrix("self_attn.q_a_proj.weight", WeightRole::kQueryDown, a.q_lora_rank, spec_.hidden);
      if (a.projection_bias) {
        Vector("self_attn.q_a_proj.bias", WeightRole::kQueryDownBias, a.q_lora_rank);
      }
      Vector("self_attn.q_a_layernorm.weight", WeightRole::kQueryNorm, a.q_lora_rank);
      Matrix("self_attn.q_b_proj.weight", WeightRole::kQuery, query, a.q_lora_rank);
    }
    Matrix("self_attn.kv_a_proj_with_mqa.weight", WeightRole::kKvDown, kv_down, spec_.hidden);
    if (a.projection_bias) {
      Vector("self_attn.kv_a_proj_with_mqa.bias", WeightRole::kKvDownBias, kv_down);
    }
    Vector("self_attn.kv_a_layernorm.weight", WeightRole::kKvNorm, a.kv_lora_rank);
    Matrix("self_attn.kv_b_proj.weight", WeightRole::kKvUp,
           int64_t{a.heads} * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank);
    ListOutput(int64_t{a.heads} * a.v_head_dim, a.projection_bias);
  }

  void ListGroupedAttention(const GqaSpec& a) {
    const int64_t query = int64_t{a.heads} * a.head_dim, key = int64_t{a.kv_heads} * a.head_dim;
    Matrix("self_attn.q_proj.weight", WeightRole::kQuery, query, spec_.hidden);
    if (a.qkv_bias) Vector("self_attn.q_proj.bias", WeightRole::kQueryBias, query);
    Matrix("self_attn.k_proj.weight", WeightRole::kKey, key, spec_.hidden);
    if (a.qkv_bias) Vector("self_attn.k_proj.bias", WeightRole::kKeyBias, key);
    Matrix("self_attn.v_proj.weight", WeightRole::kValue, key, spec_.hidden);
    if (a.qkv_bias) Vector("self_attn.v_proj.bias", WeightRole::kValueBias, key);
    if (a.qk_norm) {
      Vector("self_attn.q_norm.weight", WeightRole::kQueryHeadNorm, a.head_dim);
      Vector("self_attn.k_norm.weight", WeightRole::kKeyHeadNorm, a.head_dim);
    }
    ListOutput(query, a.output_bias);
  }

  void ListOutput(int64_t width, bool bias) {
    Matrix("self_attn.o_proj.weight", WeightRole::kOutput, spec_.hidden, width, kResidualScale);
    if (bias) Vector("self_attn.o_proj.bias", WeightRole::kOutputBias, spec_.hidden);
  }

  void ListMoe(const MoeSpec& moe) {
    Matrix("mlp.gate.weight", WeightRole::kRouter, moe.experts, spec_.hidden);
    if (moe.gate == MoeGate::kSigmoidBias) {
      Vector("mlp.gate.e_score_correction_bias", WeightRole::kRouterBias, moe.experts);
    }
    for (expert_ = 0; expert_ < moe.experts; ++expert_) {
      ListMlp(absl::StrCat("mlp.experts.", expert_, "."),
              {WeightRole::kExpertGate, WeightRole::kExpertUp, WeightRole::kExpertDown},
              moe.intermediate);
    }
    expert_ = -1;
    if (moe.shared_intermediate == 0) return;
    ListMlp("mlp.shared_experts.",
            {WeightRole::kSharedGate, WeightRole::kSharedUp, WeightRole::kSharedDown},
            moe.shared_intermediate);
  }

  void ListMlp(const std::string& part, MlpRoles roles, int64_t intermediate) {
    Matrix(part + "gate_proj.weight", roles.gate, intermediate, spec_.hidden);
    Matrix(part + "up_proj.weight", roles.up, intermediate, spec_.hidden);
    Matrix(part + "down_proj.weight", roles.down, spec_.hidden, intermediate, kResidualScale);
  }

  void Matrix(const std::string& name, WeightRole role, int64_t out, int64_t in, double scale = 1) {
    Add({.name = prefix_ + name,
         .shape = {out, in},
         .role = role,
         .init_std = scale / std::sqrt(static_cast<double>(in))});
  }

  void Vector(const std::string& name, WeightRole role, int64_t size) {
    Add({.name = prefix_ + name, .shape = {size}, .role = role});
  }

  void Add(WeightSpec weight) {
    weight.layer = layer_;
    weight.expert = expert_;
    spec_.weights.push_back(std::move(weight));
  }

  static constexpr double kResidualScale = 0.5;

  ModelSpec& spec_;
  std::string prefix_;
  int layer_ = -1;
  int expert_ = -1;
};

}  // namespace

void ListWeights(ModelSpec& spec) { WeightLister(spec).List(); }

}  // namespace r1
