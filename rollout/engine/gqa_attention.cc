// The attention block of a layer with grouped-query attention: projections, norms of the heads,
// the cache of rotated keys and values.
//
// Shape letters: D model, H heads, N key heads, K channels of a head.

#include <cstring>

#include "rollout/engine/layer_sizes.h"
#include "rollout/engine/model_runner.h"

namespace r1::rollout {

void ModelRunner::GqaInput(int layer, const GqaWeights& weights, const StepBatch& batch,
                           const Rows& rows) {
  const GqaSpec& a = *spec_.layers[layer].gqa;
  Scratch& scratch = scratch_[rows.thread];
  const int width = weights.input.view.n;  // of [queries | for each key head: key, value]
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
  if (a.qk_norm) GqaNormHeads(a, weights, rows);
  const Timer timer(this, kRope, rows.thread);
  kernels_.rope({.table = RopeTable(layer),
                 .dim = a.rope.dim,
                 .interleaved = a.rope.interleaved,
                 .positions = &batch.positions[rows.first],
                 .row_count = rows.count,
                 .heads = a.heads,
                 .x = scratch.input.data(),
                 .x_stride = width,
                 .x_head_stride = a.head_dim,
                 .y = queries_.data() + int64_t{rows.first} * QueryWidth(a),
                 .y_stride = QueryWidth(a),
                 .y_head_stride = a.head_dim});
  const kernels::PagedCache cache = Cache(layer);
  for (int r = 0; r < rows.count; ++r) {
    const float* keys_and_values = scratch.input.data() + int64_t{r} * width + QueryWidth(a);
    float* row = CacheRow(cache, batch, rows.first + r);
    std::memcpy(row, keys_and_values, cache.width * sizeof(float));
    kernels_.rope({.table = RopeTable(layer),  // over the keys just copied
                   .dim = a.rope.dim,
                   .interleaved = a.rope.interleaved,
                   .positions = &batch.positions[rows.first + r],
                   .row_count = 1,
                   .heads = a.kv_heads,
                   .x = keys_and_values,
                   .x_head_stride = 2 * a.head_dim,
                   .y = row,
                   .y_head_stride = 2 * a.head_dim});
  }
}

// Every head of a row is a row of its own to the norm.
void ModelRunner::GqaNormHeads(const GqaSpec& a, const GqaWeights& weights, const Rows& rows) {
  const Timer timer(this, kNorm, rows.thread);
  for (int r = 0; r < rows.count; ++r) {
    float* queries = scratch_[rows.thread].input.data() + int64_t{r} * weights.input.view.n;
    kernels_.rms_norm({.x = queries,
                       .x_stride = a.head_dim,
                       .weight = weights.query_head_norm.data(),
                       .y = queries,
                       .y_stride = a.head_dim,
                       .row_count = a.heads,
                       .columns = a.head_dim,
                       .eps = static_cast<float>(a.qk_norm_eps)});
    float* keys = queries + QueryWidth(a);
    kernels_.rms_norm({.x = keys,
                       .x_stride = 2 * a.head_dim,
                       .weight = weights.key_head_norm.data(),
                       .y = keys,
                       .y_stride = 2 * a.head_dim,
                       .row_count = a.kv_heads,
                       .columns = a.head_dim,
                       .eps = static_cast<float>(a.qk_norm_eps)});
  }
}

void ModelRunner::GqaOutput(int layer, const GqaWeights& weights, const StepBatch& batch,
                            const Rows& rows) {
  const GqaSpec& a = *spec_.layers[layer].gqa;
  Scratch& scratch = scratch_[rows.thread];
  {
    const Timer timer(this, kAttention, rows.thread);
    GqaDecode(rows, {.q = queries_.data() + int64_t{rows.first} * QueryWidth(a),
                     .q_stride = QueryWidth(a),
                     .cache = Cache(layer),
                     .block_tables = &batch.block_tables[rows.first],
                     .contexts = &batch.contexts[rows.first],
                     .row_count = rows.count,
                     .heads = a.heads,
                     .kv_heads = a.kv_heads,
                     .head_dim = a.head_dim,
                     .scale = static_cast<float>(a.softmax_scale),
                     .out = scratch.attention.data(),
                     .out_stride = QueryWidth(a)});
  }
  const Timer timer(this, kProjections, rows.thread);
  Matmul(rows, {.x = scratch.attention.data(),
                .x_stride = QueryWidth(a),
                .w = weights.output.view,
                .bias = DataOrNull(weights.output_bias),
                .y = Residual(rows),
                .y_stride = spec_.hidden,
                .m = rows.count,
                .accumulate = true});
}

}  // namespace r1::rollout
