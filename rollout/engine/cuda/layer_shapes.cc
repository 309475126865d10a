#include "rollout/engine/cuda/layer_shapes.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/gqa_decode_bf16_sm90.h"
#include "kernels/cuda/grouped_cache_layout.h"
#include "kernels/cuda/latent_cache_layout.h"
#include "kernels/cuda/packed_layout.h"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"
#include "kernels/cuda/residual_norm_bf16_sm90.h"
#include "kernels/cuda/sample_head_bf16_sm90.h"

namespace r1::rollout {

static_assert(kernels::kGroupedBlockTokens == kernels::kLatentBlockTokens);

int QueryWidth(const MlaSpec& a) { return a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim); }
int QueryWidth(const GqaSpec& a) { return a.heads * a.head_dim; }
int InputQueryWidth(const MlaSpec& a) { return a.q_lora_rank > 0 ? a.q_lora_rank : QueryWidth(a); }
int InputWidth(const MlaSpec& a) { return InputQueryWidth(a) + kernels::kCacheChannels; }
int InputWidth(const GqaSpec& a) { return (a.heads + 2 * a.kv_heads) * a.head_dim; }

bool MultipliesPromptsOut(const MlaSpec& a) {
  static_assert(kernels::kPrefillSharedChannels == kernels::kRotaryChannels);
  return a.qk_nope_head_dim == kernels::kPrefillHeadChannels &&
         a.v_head_dim == kernels::kPrefillHeadChannels;
}

int KeyValueWidth(const MlaSpec& a) { return a.qk_nope_head_dim + a.v_head_dim; }

int CacheBlockBytes(const ModelSpec& spec) {
  const LayerSpec& layer = spec.layers.front();
  if (layer.mla.has_value()) return kernels::kCacheBlockBytes;
  return layer.gqa->kv_heads * kernels::GroupedHeadBytes(layer.gqa->head_dim);
}

int SharedExperts(const MoeSpec& moe) { return moe.shared_intermediate / moe.intermediate; }

kernels::MoeRouterBf16Shape RouterShape(const ModelSpec& spec, const MoeSpec& moe) {
  return {.hidden = spec.hidden,
          .experts = moe.experts,
          .active = moe.experts_per_token,
          .groups = moe.expert_groups,
          .groups_kept = moe.expert_groups_kept,
          .softmax = moe.gate == MoeGate::kSoftmax,
          .normalize = moe.normalize_weights,
          .scaling = static_cast<float>(moe.routed_scaling_factor)};
}

kernels::MoeExpertsBf16Shape ExpertsShape(const ModelSpec& spec, const MoeSpec& moe) {
  return {.hidden = spec.hidden,
          .intermediate = moe.intermediate,
          .experts = moe.experts,
          .active = moe.experts_per_token,
          .shared_experts = SharedExperts(moe)};
}

namespace {

absl::Status CheckMla(const MlaSpec& a) {
  if (a.kv_lora_rank != kernels::kLatentChannels ||
      a.qk_rope_head_dim != kernels::kRotaryChannels || a.rope.dim != a.qk_rope_head_dim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the GPU's attention has kv_lora_rank ", kernels::kLatentChannels, " and qk_rope_head_dim ",
        kernels::kRotaryChannels, ", found ", a.kv_lora_rank, " and ", a.qk_rope_head_dim));
  }
  if (a.heads % 16 != 0 || a.qk_nope_head_dim % 64 != 0 || a.v_head_dim % 8 != 0 ||
      a.q_lora_rank % kernels::kPackedBlockRows != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the GPU's attention has heads in multiples of 16, qk_nope_head_dim of 64, "
                     "v_head_dim of 8 and q_lora_rank of ",
                     kernels::kPackedBlockRows, ", found ", a.heads, ", ", a.qk_nope_head_dim, ", ",
                     a.v_head_dim, " and ", a.q_lora_rank));
  }
  if (a.projection_bias)
    return absl::InvalidArgumentError("projections with a bias are not supported on the GPU");
  return absl::OkStatus();
}

absl::Status CheckGqa(const GqaSpec& a) {
  if (!kernels::IsGroupedHeadDim(a.head_dim) || a.rope.dim != a.head_dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("the GPU's grouped-query attention has a head_dim of 64 or 128, rotated as a "
                     "whole, found ",
                     a.head_dim, " with ", a.rope.dim, " rotated channels"));
  }
  if (a.heads / a.kv_heads > kernels::kGqaTileHeadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the GPU's grouped-query attention has up to ", kernels::kGqaTileHeadsMax,
                     " heads a key head, found ", a.heads, " and ", a.kv_heads));
  }
  if (a.output_bias) {
    return absl::InvalidArgumentError(
        "an output projection with a bias is not supported on the GPU; use device cpu");
  }
  return absl::OkStatus();
}

// Kind and size of the cache.
bool SameCache(const LayerSpec& a, const LayerSpec& b) {
  if (a.gqa.has_value() != b.gqa.has_value()) return false;
  return !a.gqa.has_value() ||
         (a.gqa->kv_heads == b.gqa->kv_heads && a.gqa->head_dim == b.gqa->head_dim);
}

absl::Status CheckMlp(const ModelSpec& spec, const LayerSpec& layer) {
  if (layer.dense.has_value()) {
    if (!layer.dense->bias && layer.dense->intermediate % 64 == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "the GPU's MLP has an intermediate width in multiples of 64 and no bias, found ",
        layer.dense->intermediate, layer.dense->bias ? " and a bias" : ""));
  }
  const MoeSpec& moe = *layer.moe;
  if (moe.shared_intermediate % moe.intermediate != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the GPU's shared experts have together a multiple of an expert's width, ",
                     moe.intermediate, ", found ", moe.shared_intermediate));
  }
  if (moe.gate == MoeGate::kSoftmax && moe.expert_groups > 1)
    return absl::InvalidArgumentError("the GPU's softmax router has no groups");
  const char* reason = kernels::MoeRouterBf16Sm90Unsupported(RouterShape(spec, moe));
  if (reason == nullptr) reason = kernels::MoeExpertsBf16Sm90Unsupported(ExpertsShape(spec, moe));
  if (reason == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the GPU's experts: ", reason));
}

}  // namespace

absl::Status CheckCudaSpec(const ModelSpec& spec) {
  if (spec.layers.empty() || spec.vocab < 1 || spec.vocab > kernels::kSampleHeadVocabMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected at least one layer and a vocabulary of 1 to ", kernels::kSampleHeadVocabMax,
        ", found ", spec.layers.size(), " layers and ", spec.vocab));
  }
  if (spec.hidden % 128 != 0 || spec.hidden > kernels::kResidualNormHiddenMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the GPU's models have a multiple of 128 channels, up to ",
                     kernels::kResidualNormHiddenMax, ", found ", spec.hidden));
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const std::string where = absl::StrCat("layer ", i);
    const LayerSpec& layer = spec.layers[i];
    if (!SameCache(layer, spec.layers.front())) {
      return absl::InvalidArgumentError(
          absl::StrCat(where,
                       ": on the GPU all layers have attention of one kind, with key heads "
                       "of one number and size; use device cpu"));
    }
    R1_RETURN_IF_ERROR(
        Annotate(layer.mla.has_value() ? CheckMla(*layer.mla) : CheckGqa(*layer.gqa), where));
    R1_RETURN_IF_ERROR(Annotate(CheckMlp(spec, layer), where));
  }
  return absl::OkStatus();
}

}  // namespace r1::rollout
