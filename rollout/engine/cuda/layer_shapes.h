// What the layers of a model are to the GPU's kernels: widths, shapes, bytes of the cache; and
// whether there are kernels for them.
#pragma once

#include <cstdint>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "kernels/cuda/moe_experts_bf16_sm90.h"
#include "kernels/cuda/moe_router_bf16_sm90.h"

namespace r1::rollout {

// InvalidArgument: sizes that the kernels do not support.
[[nodiscard]] absl::Status CheckCudaSpec(const ModelSpec& spec);

// Of all query heads together.
int QueryWidth(const MlaSpec& a);
int QueryWidth(const GqaSpec& a);
// Columns of the first projection before the latent begins.
int InputQueryWidth(const MlaSpec& a);
// Of the first projection: query or query_down | kv_down, and queries | keys | values.
int InputWidth(const MlaSpec& a);
int InputWidth(const GqaSpec& a);

// Whether prompts are attended with keys and values of every head, multiplied out of the latents:
// for heads of the sizes that prefill_attention_bf16_sm90.h takes. Otherwise they are attended as
// responses are, in absorbed form.
bool MultipliesPromptsOut(const MlaSpec& a);
// Channels of a head's keys and values, multiplied out.
int KeyValueWidth(const MlaSpec& a);

// Of a block of the cache in one layer; the same for all layers of a model that CheckCudaSpec has
// accepted.
int CacheBlockBytes(const ModelSpec& spec);

kernels::MoeRouterBf16Shape RouterShape(const ModelSpec& spec, const MoeSpec& moe);
kernels::MoeExpertsBf16Shape ExpertsShape(const ModelSpec& spec, const MoeSpec& moe);
// Shared experts as experts of the routed ones' width.
int SharedExperts(const MoeSpec& moe);

}  // namespace r1::rollout
