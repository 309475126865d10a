// The attention block of a layer with multi-head latent attention: projections, the latent cache,
// queries absorbed into it, and back. See weight_store.h for the absorbed matrices.
//
// Shape letters: D model, H heads, L latent channels, R rotary channels.

#include <cstring>

#include "rollout/engine/layer_sizes.h"
#include "rollout/engine/model_runner.h"

namespace r1::rollout {

void ModelRunner::MlaInput(int layer, const MlaWeights& weights, const StepBatch& batch,
                           const Rows& rows) {
  const MlaSpec& a = *spec_.layers[layer].mla;
  Scratch& scratch = scratch_[rows.thread];
  const int width = weights.input.view.n;
  float* latent = scratch.input.data() + InputQueryWidth(a);
  {
    const Timer timer(this, kProjections, rows.thread);
    Matmul(rows, {.x = scratch.normed.data(),
                  .x_stride = spec_.hidden,
                  .w = weights.input.view,
                  .bias = DataOrNull(weights.input_bias),
                  .y = scratch.input.data(),
                  .y_stride = width,
                  .m = rows.count});
  }
  {
    const Timer timer(this, kNorm, rows.thread);
    kernels_.rms_norm({.x = latent,
                       .x_stride = width,
                       .weight = weights.latent_norm.data(),
                       .y = latent,
                       .y_stride = width,
                       .row_count = rows.count,
                       .columns = a.kv_lora_rank,
                       .eps = static_cast<float>(a.latent_norm_eps)});
  }
  {
    const Timer timer(this, kRope, rows.thread);
    kernels_.rope({.table = RopeTable(layer),
                   .dim = a.rope.dim,
                   .interleaved = a.rope.interleaved,
                   .positions = &batch.positions[rows.first],
                   .row_count = rows.count,
                   .heads = 1,
                   .x = latent + a.kv_lora_rank,
                   .x_stride = width,
                   .y = scratch.key.data(),
                   .y_stride = a.qk_rope_head_dim});
    const kernels::PagedCache cache = Cache(layer);
    for (int r = 0; r < rows.count; ++r) {
      float* row = CacheRow(cache, batch, rows.first + r);
      std::memcpy(row, latent + int64_t{r} * width, a.kv_lora_rank * sizeof(float));
      std::memcpy(row + a.kv_lora_rank, scratch.key.data() + int64_t{r} * a.qk_rope_head_dim,
                  a.qk_rope_head_dim * sizeof(float));
    }
  }
  MlaAbsorbQuery(layer, weights, batch, rows);
}

void ModelRunner::MlaAbsorbQuery(int layer, const MlaWeights& weights, const StepBatch& batch,
                                 const Rows& rows) {
  const MlaSpec& a = *spec_.layers[layer].mla;
  Scratch& scratch = scratch_[rows.thread];
  const float* query = scratch.input.data();
  int64_t query_stride = weights.input.view.n;
  if (a.q_lora_rank > 0) {
    {
      const Timer timer(this, kNorm, rows.thread);
      kernels_.rms_norm({.x = query,
                         .x_stride = query_stride,
                         .weight = weights.query_norm.data(),
                         .y = scratch.input.data(),
                         .y_stride = query_stride,
                         .row_count = rows.count,
                         .columns = a.q_lora_rank,
                         .eps = static_cast<float>(a.latent_norm_eps)});
    }
    const Timer timer(this, kProjections, rows.thread);
    Matmul(rows, {.x = query,
                  .x_stride = query_stride,
                  .w = weights.query_up.view,
                  .y = scratch.query.data(),
                  .y_stride = QueryWidth(a),
                  .m = rows.count});
    query = scratch.query.data();
    query_stride = QueryWidth(a);
  }
  const int head_width = a.qk_nope_head_dim + a.qk_rope_head_dim;
  const int absorbed_stride = a.heads * CacheWidth(a);
  float* absorbed = queries_.data() + int64_t{rows.first} * absorbed_stride;
  {
    const Timer timer(this, kProjections, rows.thread);
    for (int head = 0; head < a.heads; ++head) {
      Matmul(rows, {.x = query + head * head_width,
                    .x_stride = query_stride,
                    .w = weights.key_absorb[head].view,
                    .y = absorbed + head * CacheWidth(a),
                    .y_stride = absorbed_stride,
                    .m = rows.count});
    }
  }
  const Timer timer(this, kRope, rows.thread);
  kernels_.rope({.table = RopeTable(layer),
                 .dim = a.rope.dim,
                 .interleaved = a.rope.interleaved,
                 .positions = &batch.positions[rows.first],
                 .row_count = rows.count,
                 .heads = a.heads,
                 .x = query + a.qk_nope_head_dim,
                 .x_stride = query_stride,
                 .x_head_stride = head_width,
                 .y = absorbed + a.kv_lora_rank,
                 .y_stride = absorbed_stride,
                 .y_head_stride = CacheWidth(a)});
}

void ModelRunner::MlaOutput(int layer, const MlaWeights& weights, const StepBatch& batch,
                            const Rows& rows) {
  const MlaSpec& a = *spec_.layers[layer].mla;
  Scratch& scratch = scratch_[rows.thread];
  const int absorbed_stride = a.heads * CacheWidth(a);
  const int attention_stride = a.heads * a.kv_lora_rank;
  {
    const Timer timer(this, kAttention, rows.thread);
    MlaDecode(rows, {.q = queries_.data() + int64_t{rows.first} * absorbed_stride,
                     .q_stride = absorbed_stride,
                     .cache = Cache(layer),
                     .block_tables = &batch.block_tables[rows.first],
                     .contexts = &batch.contexts[rows.first],
                     .row_count = rows.count,
                     .heads = a.heads,
                     .latent = a.kv_lora_rank,
                     .scale = static_cast<float>(a.softmax_scale),
                     .out = scratch.attention.data(),
                     .out_stride = attention_stride});
  }
  const Timer timer(this, kProjections, rows.thread);
  const float* values = scratch.attention.data();
  int values_stride = attention_stride;
  if (!weights.value_up.empty()) {
    values_stride = a.heads * a.v_head_dim;
    for (int head = 0; head < a.heads; ++head) {
      Matmul(rows, {.x = scratch.attention.data() + head * a.kv_lora_rank,
                    .x_stride = attention_stride,
                    .w = weights.value_up[head].view,
                    .y = scratch.values.data() + head * a.v_head_dim,
                    .y_stride = values_stride,
                    .m = rows.count});
    }
    values = scratch.values.data();
  }
  Matmul(rows, {.x = values,
                .x_stride = values_stride,
                .w = weights.output.view,
                .bias = DataOrNull(weights.output_bias),
                .y = Residual(rows),
                .y_stride = spec_.hidden,
                .m = rows.count,
                .accumulate = true});
}

}  // namespace r1::rollout
