#include "rollout/engine/layer_sizes.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/matmul.h"
#include "kernels/moe_router.h"
#include "kernels/sample_head.h"

namespace r1::rollout {
namespace {

// Inputs of the widest matrix in bf16 behind the hidden state.
int64_t WidestInput(const LayerSpec& layer) {
  const LayerSizes sizes = SizesOf(layer);
  if (layer.gqa.has_value()) return std::max(sizes.attention, sizes.mlp);
  const MlaSpec& a = *layer.mla;
  return std::max({int64_t{a.q_lora_rank}, int64_t{a.kv_lora_rank}, int64_t{a.qk_nope_head_dim},
                   sizes.values, sizes.mlp});
}

absl::Status CheckRope(const RopeSpec& rope, int expected_dim, absl::string_view where) {
  if (rope.dim == expected_dim && rope.dim % 2 == 0 &&
      rope.inverse_frequencies.size() == static_cast<size_t>(rope.dim / 2)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": expected an even rope.dim of ", expected_dim, " with half as many ",
                   "frequencies, found ", rope.dim, " and ", rope.inverse_frequencies.size()));
}

absl::Status CheckGqa(const GqaSpec& a, absl::string_view where) {
  if (a.heads < 1 || a.kv_heads < 1 || a.heads % a.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected a number of heads that is a multiple of kv_heads, found ",
                     a.heads, " and ", a.kv_heads));
  }
  return CheckRope(a.rope, a.head_dim, where);
}

absl::Status CheckMoe(const MoeSpec& moe, absl::string_view where) {
  if (moe.experts > kernels::kExpertsMax || moe.experts_per_token > kernels::kActiveExpertsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected at most ", kernels::kExpertsMax, " experts, ",
                     kernels::kActiveExpertsMax, " of them active; found ", moe.experts, " and ",
                     moe.experts_per_token));
  }
  if (moe.expert_groups < 1 || moe.experts % moe.expert_groups != 0 || moe.expert_groups_kept < 1 ||
      moe.expert_groups_kept > moe.expert_groups || moe.experts_per_token < 1 ||
      moe.experts_per_token > moe.experts / moe.expert_groups * moe.expert_groups_kept) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": ", moe.expert_groups_kept, " of ", moe.expert_groups, " groups of ", moe.experts,
        " experts cannot give ", moe.experts_per_token, " experts a token"));
  }
  return absl::OkStatus();
}

absl::Status CheckLayer(const LayerSpec& layer, absl::string_view where) {
  if (layer.mla.has_value() == layer.gqa.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected either latent or grouped-query attention"));
  }
  if (layer.dense.has_value() == layer.moe.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected either a dense MLP or experts"));
  }
  R1_RETURN_IF_ERROR(layer.mla.has_value()
                         ? CheckRope(layer.mla->rope, layer.mla->qk_rope_head_dim, where)
                         : CheckGqa(*layer.gqa, where));
  return layer.moe.has_value() ? CheckMoe(*layer.moe, where) : absl::OkStatus();
}

}  // namespace

LayerSizes SizesOf(const LayerSpec& layer) {
  LayerSizes sizes;
  if (layer.mla.has_value()) {
    const MlaSpec& a = *layer.mla;
    sizes.input = InputQueryWidth(a) + CacheWidth(a);
    sizes.query = QueryWidth(a);
    sizes.key = a.qk_rope_head_dim;
    sizes.attended = int64_t{a.heads} * CacheWidth(a);
    sizes.attention = int64_t{a.heads} * a.kv_lora_rank;
    sizes.values = int64_t{a.heads} * a.v_head_dim;
  } else {
    const GqaSpec& a = *layer.gqa;
    sizes.input = QueryWidth(a) + CacheWidth(a);
    sizes.attended = sizes.attention = QueryWidth(a);
  }
  if (layer.dense.has_value()) {
    sizes.mlp = layer.dense->intermediate;
  } else {
    sizes.mlp = std::max(layer.moe->intermediate, layer.moe->shared_intermediate);
    sizes.active = layer.moe->experts_per_token;
  }
  return sizes;
}

LayerSizes LargestSizes(const ModelSpec& spec) {
  LayerSizes largest;
  for (const LayerSpec& layer : spec.layers) {
    const LayerSizes sizes = SizesOf(layer);
    for (const auto member :
         {&LayerSizes::input, &LayerSizes::query, &LayerSizes::key, &LayerSizes::attended,
          &LayerSizes::attention, &LayerSizes::values, &LayerSizes::mlp, &LayerSizes::active}) {
      largest.*member = std::max(largest.*member, sizes.*member);
    }
  }
  return largest;
}

int64_t CacheBytesPerToken(const ModelSpec& spec) {
  int64_t floats = 0;
  for (const LayerSpec& layer : spec.layers) floats += CacheWidth(layer);
  return floats * static_cast<int64_t>(sizeof(float));
}

absl::Status CheckSpec(const ModelSpec& spec) {
  if (spec.layers.empty() || spec.vocab < 1 || spec.vocab > kernels::kVocabMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at least one layer and a vocabulary of 1 to ", kernels::kVocabMax,
                     ", found ", spec.layers.size(), " layers and ", spec.vocab));
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const std::string where = absl::StrCat("layer ", i);
    R1_RETURN_IF_ERROR(CheckLayer(spec.layers[i], where));
    const int64_t inputs = std::max(int64_t{spec.hidden}, WidestInput(spec.layers[i]));
    if (inputs > kernels::kInputsMax) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": expected widths up to ", kernels::kInputsMax, ", found one of ", inputs));
    }
  }
  return absl::OkStatus();
}

}  // namespace r1::rollout
