// The attention block of a layer with latent attention on the GPU, in absorbed form.

#include <algorithm>

#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "kernels/cuda/mla_input_bf16_sm90.h"
#include "rollout/engine/cuda/forward_pass.h"
#include "rollout/engine/cuda/layer_shapes.h"

namespace r1::rollout {

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
  R1_RETURN_IF_ERROR(MlaAttend(step, a, cache, stream));
  const int values = a.heads * a.v_head_dim;
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .matrices = a.heads,
                                                  .rows = a.v_head_dim,
                                                  .columns = a.kv_lora_rank,
                                                  .x = a_.attention,
                                                  .x_stride = int64_t{a.heads} * a.kv_lora_rank,
                                                  .x_matrix_stride = a.kv_lora_rank,
                                                  .weights = weights.value_up,
                                                  .y = a_.values,
                                                  .y_stride = values,
                                                  .y_matrix_stride = a.v_head_dim},
                                                 stream));
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
  const __nv_bfloat16* const query = compressed ? a_.query : a_.input;
  const int query_stride = compressed ? QueryWidth(a) : width;
  const int64_t absorbed_stride = int64_t{a.heads} * kernels::kCacheChannels;
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = rows,
                                                  .matrices = a.heads,
                                                  .rows = a.kv_lora_rank,
                                                  .columns = a.qk_nope_head_dim,
                                                  .x = query,
                                                  .x_stride = query_stride,
                                                  .x_matrix_stride = head_width,
                                                  .weights = weights.key_absorb,
                                                  .y = a_.absorbed,
                                                  .y_stride = absorbed_stride,
                                                  .y_matrix_stride = kernels::kCacheChannels,
                                                  .next_starts_with_x = true},
                                                 stream));
  Mark(OperatorTimer::kProjections, stream);
  write.query = query + a.qk_nope_head_dim;
  write.query_stride = query_stride;
  write.query_head_stride = head_width;
  write.heads = a.heads;
  write.rotated = a_.absorbed + a.kv_lora_rank;
  write.rotated_stride = absorbed_stride;
  write.rotated_head_stride = kernels::kCacheChannels;
  write.beside = true;
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

absl::Status ForwardPass::MlaAttend(const Step& step, const MlaSpec& a, const uint8_t* cache,
                                    cudaStream_t stream) {
  for (int first = 0; first < step.shape.rows; first += kernels::kMlaSequencesMax) {
    const int rows = std::min(step.shape.rows - first, kernels::kMlaSequencesMax);
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
         .scale = static_cast<float>(a.softmax_scale),
         .out = a_.attention + int64_t{first} * a.heads * kernels::kLatentChannels,
         .workspace = a_.attention_workspace},
        stream));
  }
  Mark(OperatorTimer::kAttention, stream);
  return absl::OkStatus();
}

}  // namespace r1::rollout
