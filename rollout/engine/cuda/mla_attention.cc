// The attention block of a layer with latent attention on the GPU. Rows of responses are attended
// in absorbed form, over the cached latents. Rows of prompts are attended over their context's keys
// and values, multiplied out of the latents again in every chunk: a sixth of the work, for heads of
// the sizes that the kernel takes.

#include <algorithm>

#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/latent_gather_bf16_sm90.h"
#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "kernels/cuda/mla_input_bf16_sm90.h"
#include "kernels/cuda/prefill_attention_bf16_sm90.h"
#include "rollout/engine/cuda/forward_pass.h"
#include "rollout/engine/cuda/layer_shapes.h"

namespace r1::rollout {
namespace {

// Enough for one prompt of moderate length where steps have few rows.
constexpr int64_t kKeysValuesMin = int64_t{4} << 20;

}  // namespace

int64_t ForwardPass::PromptKeysValues() const {
  int64_t elements = 0;
  for (const LayerSpec& layer : spec_->layers) {
    if (!layer.mla.has_value() || !MultipliesPromptsOut(*layer.mla)) continue;
    const int64_t width = KeyValueWidth(*layer.mla);
    elements = std::max({elements, kKeysValuesMin, shape_.rows_max * layer.mla->heads * width,
                         shape_.positions_max * width});
  }
  return elements;
}

int ForwardPass::PromptContextMax() const {
  int64_t rows = 0;
  for (const LayerSpec& layer : spec_->layers) {
    if (!layer.mla.has_value() || !MultipliesPromptsOut(*layer.mla)) continue;
    const int64_t own = PromptKeysValues() / (layer.mla->heads * KeyValueWidth(*layer.mla));
    rows = rows == 0 ? own : std::min(rows, own);
  }
  return static_cast<int>(rows);
}

std::vector<PromptRows::Range> ForwardPass::MlaAbsorbedRows(const Step& step,
                                                            const MlaSpec& a) const {
  if (MultipliesPromptsOut(a)) return SingleRows(step);
  return {{.first = 0, .count = step.shape.rows}};
}

std::pair<const __nv_bfloat16*, int> ForwardPass::MlaQuery(const MlaSpec& a) const {
  if (a.q_lora_rank > 0) return {a_.query, QueryWidth(a)};
  return {a_.input, InputWidth(a)};
}

int ForwardPass::MlaSplitTokens(int rows, int heads, int contexts_max) const {
  if (batch_invariant_) return kernels::kMlaStrictSplitTokens;
  return kernels::MlaDecodeBf16Sm90FastSplit(GraphRows(rows), heads, contexts_max);
}

int64_t ForwardPass::MlaWorkspaceBytes(const MlaSpec& a) const {
  const int rows_max = std::min(shape_.rows_max, kernels::kMlaSequencesMax);
  int64_t bytes = 0;
  for (int rows = 1; rows < GraphRows(rows_max) + 1; rows = GraphRows(rows + 1)) {
    for (int context = 1; context < 2 * shape_.positions_max; context *= 2) {
      const int contexts_max = std::min(GraphContext(context), shape_.positions_max);
      for (const int contexts :
           {contexts_max, std::min(contexts_max / 2 * 3, shape_.positions_max)}) {
        bytes =
            std::max(bytes, kernels::MlaDecodeBf16Sm90WorkspaceBytes(
                                rows, a.heads, contexts, MlaSplitTokens(rows, a.heads, contexts)));
      }
    }
  }
  return bytes;
}

absl::Status ForwardPass::MlaAttention(const Step& step, int layer, uint8_t* cache,
                                       cudaStream_t stream) {
  const MlaSpec& a = *spec_->layers[layer].mla;
  const DeviceAttention& weights = model_->layer(layer).attention;
  R1_RETURN_IF_ERROR(MlaQueryAndCache(step, layer, cache, stream));
  const int values = a.heads * a.v_head_dim;
  const int64_t latents = int64_t{a.heads} * a.kv_lora_rank;
  for (const PromptRows::Range& range : MlaAbsorbedRows(step, a)) {
    R1_RETURN_IF_ERROR(MlaAttend(step, a, range, cache, stream));
    R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = range.count,
                                                    .matrices = a.heads,
                                                    .rows = a.v_head_dim,
                                                    .columns = a.kv_lora_rank,
                                                    .x = a_.attention + range.first * latents,
                                                    .x_stride = latents,
                                                    .x_matrix_stride = a.kv_lora_rank,
                                                    .weights = weights.value_up,
                                                    .y = a_.values + int64_t{range.first} * values,
                                                    .y_stride = values,
                                                    .y_matrix_stride = a.v_head_dim},
                                                   stream));
    Mark(OperatorTimer::kProjections, stream);
  }
  if (MultipliesPromptsOut(a)) R1_RETURN_IF_ERROR(MlaAttendPrompts(step, layer, cache, stream));
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .rows = spec_->hidden,
                                                  .columns = values,
                                                  .x = a_.values,
                                                  .x_stride = values,
                                                  .weights = weights.output,
                                                  .y = a_.delta,
                                                  .y_stride = spec_->hidden},
                                                 stream));
  Mark(OperatorTimer::kProjections, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::MlaQueryAndCache(const Step& step, int layer, uint8_t* cache,
                                           cudaStream_t stream) {
  const MlaSpec& a = *spec_->layers[layer].mla;
  const DeviceAttention& weights = model_->layer(layer).attention;
  const int rows = step.shape.rows;
  const int width = InputWidth(a);
  const int head_width = a.qk_nope_head_dim + a.qk_rope_head_dim;
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = rows,
                                                  .rows = width,
                                                  .columns = spec_->hidden,
                                                  .x = a_.normed,
                                                  .x_stride = spec_->hidden,
                                                  .weights = weights.input,
                                                  .y = a_.input,
                                                  .y_stride = width},
                                                 stream));
  Mark(OperatorTimer::kProjections, stream);

  kernels::MlaInputBf16Args write = MlaInputArgs(step, layer);
  write.latent = a_.input + InputQueryWidth(a);
  write.latent_stride = width;
  write.latent_norm = weights.latent_norm;
  write.cache = cache;
  write.slots = step.inputs.slots;
  const bool compressed = a.q_lora_rank > 0;
  if (compressed) {
    R1_RETURN_IF_ERROR(UncompressQuery(step, layer, write, stream));
    write = MlaInputArgs(step, layer);
  }
  const auto [query, query_stride] = MlaQuery(a);
  const int64_t absorbed_stride = int64_t{a.heads} * kernels::kCacheChannels;
  for (const PromptRows::Range& range : MlaAbsorbedRows(step, a)) {
    R1_RETURN_IF_CUDA_ERROR(
        kernels::DenseBf16Sm90({.tokens = range.count,
                                .matrices = a.heads,
                                .rows = a.kv_lora_rank,
                                .columns = a.qk_nope_head_dim,
                                .x = query + int64_t{range.first} * query_stride,
                                .x_stride = query_stride,
                                .x_matrix_stride = head_width,
                                .weights = weights.key_absorb,
                                .y = a_.absorbed + range.first * absorbed_stride,
                                .y_stride = absorbed_stride,
                                .y_matrix_stride = kernels::kCacheChannels,
                                .next_starts_with_x = true},
                               stream));
    Mark(OperatorTimer::kProjections, stream);
    write.beside = true;
  }
  write.query = query + a.qk_nope_head_dim;
  write.query_stride = query_stride;
  write.query_head_stride = head_width;
  write.heads = a.heads;
  write.rotated = a_.absorbed + a.kv_lora_rank;
  write.rotated_stride = absorbed_stride;
  write.rotated_head_stride = kernels::kCacheChannels;
  R1_RETURN_IF_CUDA_ERROR(kernels::MlaInputBf16Sm90(write, stream));
  Mark(OperatorTimer::kCacheWrite, stream);
  return absl::OkStatus();
}

kernels::MlaInputBf16Args ForwardPass::MlaInputArgs(const Step& step, int layer) const {
  const MlaSpec& a = *spec_->layers[layer].mla;
  return {.rows = step.shape.rows,
          .positions = step.inputs.positions,
          .rope_table = rope_table_of_layer_[layer],
          .interleaved = a.rope.interleaved,
          .eps = static_cast<float>(a.latent_norm_eps)};
}

absl::Status ForwardPass::UncompressQuery(const Step& step, int layer,
                                          kernels::MlaInputBf16Args write, cudaStream_t stream) {
  const MlaSpec& a = *spec_->layers[layer].mla;
  const DeviceAttention& weights = model_->layer(layer).attention;
  write.query_latent = a_.input;
  write.query_latent_stride = InputWidth(a);
  write.query_rank = a.q_lora_rank;
  write.query_norm = weights.query_norm;
  write.query_normed = a_.query_normed;
  write.query_normed_stride = a.q_lora_rank;
  R1_RETURN_IF_CUDA_ERROR(kernels::MlaInputBf16Sm90(write, stream));
  Mark(OperatorTimer::kCacheWrite, stream);
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .rows = QueryWidth(a),
                                                  .columns = a.q_lora_rank,
                                                  .x = a_.query_normed,
                                                  .x_stride = a.q_lora_rank,
                                                  .weights = weights.query_up,
                                                  .y = a_.query,
                                                  .y_stride = QueryWidth(a)},
                                                 stream));
  Mark(OperatorTimer::kProjections, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::MlaAttend(const Step& step, const MlaSpec& a,
                                    const PromptRows::Range& range, const uint8_t* cache,
                                    cudaStream_t stream) {
  const int end = range.first + range.count;
  for (int first = range.first; first < end; first += kernels::kMlaSequencesMax) {
    const int rows = std::min(end - first, kernels::kMlaSequencesMax);
    R1_RETURN_IF_CUDA_ERROR(kernels::MlaDecodeBf16Sm90(
        {.sequences = rows,
         .heads = a.heads,
         .q = a_.absorbed + int64_t{first} * a.heads * kernels::kCacheChannels,
         .cache = cache,
         .block_tables = step.inputs.tables + int64_t{first} * step.shape.blocks,
         .table_stride = step.shape.blocks,
         .contexts = step.inputs.contexts + first,
         .contexts_max = step.contexts_max,
         .split_tokens = MlaSplitTokens(rows, a.heads, step.contexts_max),
         .begins_early = step.is_decode && first == 0,
         .scale = static_cast<float>(a.softmax_scale),
         .out = a_.attention + int64_t{first} * a.heads * kernels::kLatentChannels,
         .workspace = a_.attention_workspace},
        stream));
  }
  Mark(OperatorTimer::kAttention, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::MlaAttendPrompts(const Step& step, int layer, const uint8_t* cache,
                                           cudaStream_t stream) {
  const MlaSpec& a = *spec_->layers[layer].mla;
  for (const PromptRows::Pass& pass : step.prompts.passes) {
    R1_RETURN_IF_CUDA_ERROR(
        kernels::LatentGatherBf16Sm90({.cache = cache,
                                       .pieces = step.inputs.prompt_pieces + pass.piece_begin,
                                       .count = pass.piece_end - pass.piece_begin,
                                       .rows = a_.context},
                                      stream));
    Mark(OperatorTimer::kProjections, stream);
    const int64_t head = int64_t{pass.context_rows} * KeyValueWidth(a);
    const int at_once = static_cast<int>(std::min<int64_t>(a.heads, PromptKeysValues() / head));
    R1_CHECK(at_once > 0);
    for (int first = 0; first < a.heads; first += at_once) {
      R1_RETURN_IF_ERROR(
          MlaAttendHeads(step, layer, pass,
                         {.first = first, .count = std::min(at_once, a.heads - first)}, stream));
    }
  }
  return absl::OkStatus();
}

absl::Status ForwardPass::MlaAttendHeads(const Step& step, int layer, const PromptRows::Pass& pass,
                                         const Heads& heads, cudaStream_t stream) {
  const MlaSpec& a = *spec_->layers[layer].mla;
  const int width = KeyValueWidth(a);
  const int64_t row = int64_t{heads.count} * width;
  R1_RETURN_IF_CUDA_ERROR(
      kernels::DenseBf16Sm90({.tokens = pass.context_rows,
                              .rows = heads.count * width,
                              .columns = a.kv_lora_rank,
                              .x = a_.context,
                              .x_stride = kernels::kCacheChannels,
                              .weights = model_->layer(layer).attention.kv_up +
                                         kernels::PackedBytes(heads.first * width, a.kv_lora_rank),
                              .y = a_.keys_values,
                              .y_stride = row},
                             stream));
  Mark(OperatorTimer::kProjections, stream);
  const int query_head = a.qk_nope_head_dim + a.qk_rope_head_dim;
  const auto [query, query_stride] = MlaQuery(a);
  const int64_t rotated_row = int64_t{a.heads} * kernels::kCacheChannels;
  const __nv_bfloat16* const rotated =
      a_.absorbed + heads.first * kernels::kCacheChannels + a.kv_lora_rank;
  R1_RETURN_IF_CUDA_ERROR(kernels::PrefillAttentionBf16Sm90(
      {.heads = heads.count,
       .rows = step.shape.rows,
       .q = {query + int64_t{heads.first} * query_head, query_stride, query_head},
       .q_shared = {rotated, rotated_row, kernels::kCacheChannels},
       .key_rows = pass.context_rows,
       .keys = {a_.keys_values, row, width},
       .key_shared = {a_.context + a.kv_lora_rank, kernels::kCacheChannels, 0},
       .values = {a_.keys_values + a.qk_nope_head_dim, row, width},
       .tiles = step.inputs.prompt_tiles + pass.tile_begin,
       .tile_count = pass.tile_end - pass.tile_begin,
       .scale = static_cast<float>(a.softmax_scale),
       .out = a_.values + int64_t{heads.first} * a.v_head_dim,
       .out_stride = int64_t{a.heads} * a.v_head_dim,
       .out_head_stride = a.v_head_dim},
      stream));
  Mark(OperatorTimer::kAttention, stream);
  return absl::OkStatus();
}

}  // namespace r1::rollout
