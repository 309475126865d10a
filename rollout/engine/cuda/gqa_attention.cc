// The attention block of a layer with grouped-query attention on the GPU: one projection to
// queries, keys and values; their norms and rotations with the write to the cache; attention, a
// prompt's rows in tiles by a kernel of their own; the output projection.

#include <algorithm>

#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/gqa_decode_bf16_sm90.h"
#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/gqa_prefill_bf16_sm90.h"
#include "rollout/engine/cuda/forward_pass.h"
#include "rollout/engine/cuda/layer_shapes.h"

namespace r1::rollout {
namespace {

// Splits of a long context take room for every row: what is over is attended in another launch.
constexpr int64_t kWorkspaceBytesEnough = int64_t{256} << 20;
// Fewer blocks than this run at once anyway; a launch more would only cost time.
constexpr int kSharingRowHeads = 132;
// Of the splits that fast runs choose.
constexpr int kSplitTokensMin = 128;

}  // namespace

int ForwardPass::GqaSplitTokens(int rows, int kv_heads, int contexts_max) const {
  if (batch_invariant_) return kernels::kGqaStrictSplitTokens;
  return kernels::GqaDecodeBf16Sm90FastSplit(GraphRows(rows), kv_heads, contexts_max);
}

int64_t ForwardPass::GqaWorkspaceBytes(const GqaSpec& a) const {
  const auto bytes = [&](int rows, int split_tokens) {
    return kernels::GqaDecodeBf16Sm90WorkspaceBytes(rows, a.heads, a.head_dim, shape_.positions_max,
                                                    split_tokens);
  };
  const int64_t all_rows = bytes(shape_.rows_max, kernels::kGqaStrictSplitTokens);
  const int64_t one_row = bytes(1, kSplitTokensMin);
  return std::max(one_row, std::min(all_rows, kWorkspaceBytesEnough));
}

int ForwardPass::tile_rows_max() const {
  int rows = kernels::kGqaTileHeadsMax;
  for (const LayerSpec& layer : spec_->layers) {
    if (!layer.gqa.has_value()) return 1;
    rows = std::min(rows, kernels::kGqaTileHeadsMax / (layer.gqa->heads / layer.gqa->kv_heads));
  }
  return rows;
}

absl::Status ForwardPass::GqaAttention(const Step& step, int layer, uint8_t* cache,
                                       cudaStream_t stream) {
  const GqaSpec& a = *spec_->layers[layer].gqa;
  const DeviceAttention& weights = model_->layer(layer).attention;
  const int width = InputWidth(a);
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .rows = width,
                                                  .columns = spec_->hidden,
                                                  .x = a_.normed,
                                                  .x_stride = spec_->hidden,
                                                  .weights = weights.input,
                                                  .y = a_.input,
                                                  .y_stride = width},
                                                 stream));
  Mark(OperatorTimer::kProjections, stream);
  const kernels::GqaInputBf16Args input = {.rows = step.shape.rows,
                                           .heads = a.heads,
                                           .kv_heads = a.kv_heads,
                                           .head_dim = a.head_dim,
                                           .input = a_.input,
                                           .input_stride = width,
                                           .bias = weights.input_bias,
                                           .query_norm = weights.query_norm,
                                           .key_norm = weights.key_norm,
                                           .eps = static_cast<float>(a.qk_norm_eps),
                                           .positions = step.inputs.positions,
                                           .rope_table = rope_table_of_layer_[layer],
                                           .interleaved = a.rope.interleaved,
                                           .query = a_.query,
                                           .cache = cache,
                                           .slots = step.inputs.slots};
  if (DecodeTakesInput(step, a)) {
    R1_RETURN_IF_ERROR(
        GqaAttendRows(step, a, cache, {.first = 0, .count = step.shape.rows}, &input, stream));
    Mark(OperatorTimer::kAttention, stream);
  } else {
    R1_RETURN_IF_CUDA_ERROR(kernels::GqaInputBf16Sm90(input, stream));
    Mark(OperatorTimer::kCacheWrite, stream);
    R1_RETURN_IF_ERROR(GqaAttend(step, a, cache, stream));
  }
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .rows = spec_->hidden,
                                                  .columns = QueryWidth(a),
                                                  .x = a_.values,
                                                  .x_stride = QueryWidth(a),
                                                  .weights = weights.output,
                                                  .y = a_.delta,
                                                  .y_stride = spec_->hidden},
                                                 stream));
  Mark(OperatorTimer::kProjections, stream);
  return absl::OkStatus();
}

// A step begins with a copy of its inputs, behind which its kernels begin: all of the cache that
// former steps and copies of blocks wrote is complete by then.
bool ForwardPass::DecodeTakesInput(const Step& step, const GqaSpec& a) {
  return step.is_decode && step.shape.prefix_tiles == 0 &&
         a.heads / a.kv_heads <= kernels::kGqaInputHeadsMax;
}

absl::Status ForwardPass::GqaAttend(const Step& step, const GqaSpec& a, const uint8_t* cache,
                                    cudaStream_t stream) {
  if (step.shape.prefix_tiles > 0) {
    R1_RETURN_IF_ERROR(GqaAttendPrefixes(step, a, cache, stream));
  } else {
    for (const PromptRows::Range& range : SingleRows(step))
      R1_RETURN_IF_ERROR(GqaAttendRows(step, a, cache, range, nullptr, stream));
    if (!step.prompts.tiles.empty()) {
      R1_RETURN_IF_CUDA_ERROR(
          kernels::GqaPrefillBf16Sm90({.rows = step.shape.rows,
                                       .heads = a.heads,
                                       .kv_heads = a.kv_heads,
                                       .head_dim = a.head_dim,
                                       .q = a_.query,
                                       .cache = cache,
                                       .block_tables = step.inputs.tables,
                                       .table_stride = step.shape.blocks,
                                       .tiles = step.inputs.prompt_tiles,
                                       .tile_count = step.shape.prompt_tiles,
                                       .scale = static_cast<float>(a.softmax_scale),
                                       .out = a_.values},
                                      stream));
    }
  }
  Mark(OperatorTimer::kAttention, stream);
  return absl::OkStatus();
}

kernels::GqaDecodeBf16Args ForwardPass::GqaDecodeArgs(const Step& step, const GqaSpec& a,
                                                      const uint8_t* cache, int first_row) const {
  return {.heads = a.heads,
          .kv_heads = a.kv_heads,
          .head_dim = a.head_dim,
          .q = a_.query + int64_t{first_row} * QueryWidth(a),
          .cache = cache,
          .block_tables = step.inputs.tables + int64_t{first_row} * step.shape.blocks,
          .table_stride = step.shape.blocks,
          .contexts = step.inputs.contexts + first_row,
          .contexts_max = step.contexts_max,
          .prefixes = step.inputs.prefixes + first_row,
          .prefixes_max = step.prefixes_max,
          .scale = static_cast<float>(a.softmax_scale),
          .out = a_.values + int64_t{first_row} * QueryWidth(a),
          .workspace = a_.attention_workspace,
          .counters = a_.attention_counters};
}

absl::Status ForwardPass::GqaAttendPrefixes(const Step& step, const GqaSpec& a,
                                            const uint8_t* cache, cudaStream_t stream) {
  kernels::GqaDecodeBf16Args args = GqaDecodeArgs(step, a, cache, 0);
  args.split_tokens = GqaSplitTokens(step.shape.rows, a.kv_heads, step.contexts_max);
  args.workspace_rows = step.shape.rows;
  args.part = kernels::GqaPart::kPrefixes;
  args.tile_count = step.shape.prefix_tiles;
  args.tiles = step.inputs.prefix_tiles;
  args.tile_rows_max = tile_rows_max();
  R1_RETURN_IF_CUDA_ERROR(kernels::GqaDecodeBf16Sm90(args, stream));
  args.part = kernels::GqaPart::kRest;
  args.tile_count = step.shape.rows;
  args.tiles = nullptr;
  args.tile_rows_max = 1;
  R1_RETURN_IF_CUDA_ERROR(kernels::GqaDecodeBf16Sm90(args, stream));
  return absl::OkStatus();
}

bool ForwardPass::SharesPrefixes(int rows, int contexts_max) const {
  for (const LayerSpec& layer : spec_->layers) {
    if (!layer.gqa.has_value()) return false;
    const GqaSpec& a = *layer.gqa;
    if (rows * a.kv_heads < kSharingRowHeads) return false;
    const int64_t bytes = kernels::GqaDecodeBf16Sm90WorkspaceBytes(
        rows, a.heads, a.head_dim, contexts_max, GqaSplitTokens(rows, a.kv_heads, contexts_max),
        true);
    if (bytes > GqaWorkspaceBytes(a)) return false;
  }
  return true;
}

absl::Status ForwardPass::GqaAttendRows(const Step& step, const GqaSpec& a, const uint8_t* cache,
                                        const PromptRows::Range& range,
                                        const kernels::GqaInputBf16Args* input,
                                        cudaStream_t stream) {
  const int split_tokens = GqaSplitTokens(range.count, a.kv_heads, step.contexts_max);
  const int64_t row_bytes = kernels::GqaDecodeBf16Sm90WorkspaceBytes(
      1, a.heads, a.head_dim, step.contexts_max, split_tokens);
  const int at_once =
      static_cast<int>(std::clamp<int64_t>(GqaWorkspaceBytes(a) / row_bytes, 1, shape_.rows_max));
  const int end = range.first + range.count;
  for (int first = range.first; first < end; first += at_once) {
    kernels::GqaDecodeBf16Args args = GqaDecodeArgs(step, a, cache, first);
    if (input != nullptr) {
      args.input = *input;
      args.input.input += first * input->input_stride;
      args.input.positions += first;
      args.input.slots += first;
    }
    args.split_tokens = split_tokens;
    args.tile_count = std::min(end - first, at_once);
    R1_RETURN_IF_CUDA_ERROR(kernels::GqaDecodeBf16Sm90(args, stream));
  }
  return absl::OkStatus();
}

}  // namespace r1::rollout
