#include "rollout/engine/cuda/forward_pass.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/mla_decode_bf16_sm90.h"
#include "kernels/cuda/mla_input_bf16_sm90.h"
#include "kernels/cuda/moe_experts_bf16_sm90.h"
#include "kernels/cuda/moe_router_bf16_sm90.h"
#include "kernels/cuda/residual_norm_bf16_sm90.h"
#include "kernels/cuda/sample_head_bf16_sm90.h"
#include "kernels/rope.h"

namespace r1::rollout {
namespace {

int QueryWidth(const MlaSpec& a) { return a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim); }
// Columns of the first projection before the latent begins.
int InputQueryWidth(const MlaSpec& a) { return a.q_lora_rank > 0 ? a.q_lora_rank : QueryWidth(a); }
int InputWidth(const MlaSpec& a) { return InputQueryWidth(a) + kernels::kCacheChannels; }

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

// The largest of a number over the layers.
template <class Number>
int64_t Widest(const ModelSpec& spec, const Number& number) {
  int64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) widest = std::max<int64_t>(widest, number(layer));
  return widest;
}

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
    if (!spec.layers[i].mla.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": the GPU has latent attention only; use device cpu"));
    }
    R1_RETURN_IF_ERROR(Annotate(CheckMla(*spec.layers[i].mla), where));
    R1_RETURN_IF_ERROR(Annotate(CheckMlp(spec, spec.layers[i]), where));
  }
  return absl::OkStatus();
}

ForwardPass::ForwardPass(const ModelSpec& spec, const DeviceModel& model, const RunnerShape& shape,
                         bool batch_invariant, OperatorTimer* timer)
    : spec_(&spec),
      model_(&model),
      shape_(shape),
      batch_invariant_(batch_invariant),
      timer_(timer) {
  // Padding may add to the rows and draws of a step.
  shape_.rows_max = GraphRows(shape.rows_max);
  shape_.draws_max = GraphRows(shape.draws_max);
  for (const LayerSpec& layer : spec.layers) {
    expert_shape_of_layer_.push_back(-1);
    if (!layer.moe.has_value()) continue;
    const kernels::MoeExpertsBf16Shape experts = ExpertsShape(spec, *layer.moe);
    const ExpertShape own = {experts.experts, experts.active, experts.shared_experts,
                             experts.intermediate};
    const auto known = std::find(expert_shapes_.begin(), expert_shapes_.end(), own);
    expert_shape_of_layer_.back() = static_cast<int>(known - expert_shapes_.begin());
    if (known == expert_shapes_.end()) expert_shapes_.push_back(own);
  }
}

int64_t ForwardPass::Place(uint8_t* base) {
  const ModelSpec& spec = *spec_;
  const int64_t rows = shape_.rows_max;
  const auto attention = [&](const auto& number) {
    return rows * Widest(spec, [&](const LayerSpec& layer) { return number(*layer.mla); });
  };
  Placement placement(base);
  placement.Take(&a_.residual, rows * spec.hidden);
  placement.Take(&a_.normed, rows * spec.hidden);
  placement.Take(&a_.delta, rows * spec.hidden);
  placement.Take(&a_.input, attention(InputWidth));
  placement.Take(&a_.query_normed, attention([](const MlaSpec& a) { return a.q_lora_rank; }));
  placement.Take(&a_.query,
                 attention([](const MlaSpec& a) { return a.q_lora_rank > 0 ? QueryWidth(a) : 0; }));
  placement.Take(&a_.absorbed,
                 attention([](const MlaSpec& a) { return a.heads * kernels::kCacheChannels; }));
  placement.Take(&a_.attention,
                 attention([](const MlaSpec& a) { return a.heads * kernels::kLatentChannels; }));
  placement.Take(&a_.values, attention([](const MlaSpec& a) { return a.heads * a.v_head_dim; }));
  placement.Take(&a_.hidden, rows * Widest(spec, [](const LayerSpec& layer) {
                               return layer.dense.has_value() ? layer.dense->intermediate : 0;
                             }));
  const int64_t slots = rows * Widest(spec, [](const LayerSpec& layer) {
                          return layer.moe.has_value() ? layer.moe->experts_per_token : 0;
                        });
  placement.Take(&a_.experts, slots);
  placement.Take(&a_.expert_weights, slots);
  placement.Take(&a_.draws_normed, int64_t{shape_.draws_max} * spec.hidden);
  placement.Take(&a_.attention_workspace, AttentionWorkspaceBytes());
  placement.Take(&a_.head_workspace,
                 kernels::SampleHeadBf16Sm90WorkspaceBytes(
                     spec.vocab, std::min(shape_.draws_max, kernels::kSampleHeadRowsMax)));
  a_.expert_workspaces.resize(expert_shapes_.size());
  for (size_t i = 0; i < expert_shapes_.size(); ++i) {
    const ExpertShape& e = expert_shapes_[i];
    placement.Take(&a_.expert_workspaces[i],
                   kernels::MoeExpertsBf16Sm90WorkspaceBytes({.hidden = spec.hidden,
                                                              .intermediate = e.intermediate,
                                                              .experts = e.experts,
                                                              .active = e.active,
                                                              .shared_experts = e.shared},
                                                             shape_.rows_max));
  }
  return placement.bytes();
}

int ForwardPass::SplitTokens(int rows, int heads, int contexts_max) const {
  if (batch_invariant_) return kernels::kMlaStrictSplitTokens;
  return kernels::MlaDecodeBf16Sm90FastSplit(GraphRows(rows), heads, contexts_max);
}

int64_t ForwardPass::AttentionWorkspaceBytes() const {
  const int rows_max = std::min(shape_.rows_max, kernels::kMlaSequencesMax);
  int64_t bytes = 0;
  for (const LayerSpec& layer : spec_->layers) {
    const int heads = layer.mla->heads;
    for (int rows = 1; rows < GraphRows(rows_max) + 1; rows = GraphRows(rows + 1)) {
      for (int context = 1; context < 2 * shape_.positions_max; context *= 2) {
        const int contexts_max = std::min(GraphContext(context), shape_.positions_max);
        for (const int contexts :
             {contexts_max, std::min(contexts_max / 2 * 3, shape_.positions_max)}) {
          bytes = std::max(bytes, kernels::MlaDecodeBf16Sm90WorkspaceBytes(
                                      rows, heads, contexts, SplitTokens(rows, heads, contexts)));
        }
      }
    }
  }
  return bytes;
}

absl::StatusOr<ForwardPass> ForwardPass::Make(const ModelSpec& spec, const DeviceModel& model,
                                              const RunnerShape& shape, bool batch_invariant,
                                              OperatorTimer* timer) {
  ForwardPass pass(spec, model, shape, batch_invariant, timer);
  const int64_t bytes = pass.Place(nullptr);
  R1_ASSIGN_OR_RETURN(pass.memory_, AllocateDevice(bytes, "the activations"));
  // The experts' counters begin at zero.
  R1_RETURN_IF_CUDA_ERROR(cudaMemset(pass.memory_.get(), 0, static_cast<size_t>(bytes)));
  pass.Place(pass.memory_.get());

  std::vector<RopeSpec> ropes;
  std::vector<size_t> rope_of_layer;
  for (const LayerSpec& layer : spec.layers) {
    const auto known = std::find(ropes.begin(), ropes.end(), layer.rope());
    rope_of_layer.push_back(known - ropes.begin());
    if (known == ropes.end()) ropes.push_back(layer.rope());
  }
  const int64_t table_floats = int64_t{shape.positions_max} * 2 * kernels::kRotaryChannels;
  R1_ASSIGN_OR_RETURN(
      pass.rope_memory_,
      AllocateDevice(static_cast<int64_t>(ropes.size()) * table_floats * 4, "rotary embeddings"));
  auto* const tables = reinterpret_cast<float*>(pass.rope_memory_.get());
  for (size_t i = 0; i < ropes.size(); ++i) {
    const std::vector<float> table =
        kernels::MakeRopeTable(ropes[i].inverse_frequencies, ropes[i].magnitude,
                               ropes[i].interleaved, shape.positions_max);
    R1_CHECK(static_cast<int64_t>(table.size()) == table_floats);
    R1_RETURN_IF_CUDA_ERROR(cudaMemcpy(tables + i * table_floats, table.data(),
                                       table.size() * sizeof(float), cudaMemcpyHostToDevice));
  }
  for (const size_t rope : rope_of_layer) {
    pass.rope_table_of_layer_.push_back(tables + rope * table_floats);
  }
  return pass;
}

absl::Status ForwardPass::Enqueue(const Step& step, uint8_t* cache, cudaStream_t stream) {
  if (timer_ != nullptr) timer_->Begin(stream);
  const int64_t layer_bytes = int64_t{shape_.block_count} * kernels::kCacheBlockBytes;
  for (int layer = 0; layer < static_cast<int>(spec_->layers.size()); ++layer) {
    const DeviceLayer& weights = model_->layer(layer);
    R1_RETURN_IF_ERROR(Norm(step, weights.attention.norm, layer == 0, stream));
    R1_RETURN_IF_ERROR(Attention(step, layer, cache + layer * layer_bytes, stream));
    R1_RETURN_IF_ERROR(Norm(step, weights.mlp_norm, false, stream));
    R1_RETURN_IF_ERROR(spec_->layers[layer].dense.has_value() ? DenseMlp(step, layer, stream)
                                                              : Experts(step, layer, stream));
  }
  return Draw(step, stream);
}

absl::Status ForwardPass::Norm(const Step& step, const float* weight, bool begins,
                               cudaStream_t stream) {
  R1_RETURN_IF_CUDA_ERROR(
      kernels::ResidualNormBf16Sm90({.rows = step.shape.rows,
                                     .hidden = spec_->hidden,
                                     .residual = a_.residual,
                                     .tokens = begins ? step.inputs.token_ids : nullptr,
                                     .embedding = begins ? model_->embedding() : nullptr,
                                     .delta = begins ? nullptr : a_.delta,
                                     .weight = weight,
                                     .eps = static_cast<float>(spec_->rms_norm_eps),
                                     .y = a_.normed},
                                    stream));
  Mark(OperatorTimer::kNorm, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::Attention(const Step& step, int layer, uint8_t* cache,
                                    cudaStream_t stream) {
  const MlaSpec& a = *spec_->layers[layer].mla;
  const DeviceAttention& weights = model_->layer(layer).attention;
  R1_RETURN_IF_ERROR(QueryAndCache(step, layer, cache, stream));
  R1_RETURN_IF_ERROR(Attend(step, a, cache, stream));
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

absl::Status ForwardPass::QueryAndCache(const Step& step, int layer, uint8_t* cache,
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

  kernels::MlaInputBf16Args write = InputArgs(step, layer);
  write.latent = a_.input + InputQueryWidth(a);
  write.latent_stride = width;
  write.latent_norm = weights.latent_norm;
  write.cache = cache;
  write.slots = step.inputs.slots;
  const bool compressed = a.q_lora_rank > 0;
  if (compressed) {
    R1_RETURN_IF_ERROR(UncompressQuery(step, layer, write, stream));
    write = InputArgs(step, layer);
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

kernels::MlaInputBf16Args ForwardPass::InputArgs(const Step& step, int layer) const {
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

absl::Status ForwardPass::Attend(const Step& step, const MlaSpec& a, const uint8_t* cache,
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
         .split_tokens = SplitTokens(rows, a.heads, step.contexts_max),
         .scale = static_cast<float>(a.softmax_scale),
         .out = a_.attention + int64_t{first} * a.heads * kernels::kLatentChannels,
         .workspace = a_.attention_workspace},
        stream));
  }
  Mark(OperatorTimer::kAttention, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::DenseMlp(const Step& step, int layer, cudaStream_t stream) {
  const int intermediate = spec_->layers[layer].dense->intermediate;
  const DeviceMlp& weights = model_->layer(layer).mlp;
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .rows = 2 * intermediate,
                                                  .columns = spec_->hidden,
                                                  .swiglu = true,
                                                  .x = a_.normed,
                                                  .x_stride = spec_->hidden,
                                                  .weights = weights.gate_up,
                                                  .y = a_.hidden,
                                                  .y_stride = intermediate},
                                                 stream));
  R1_RETURN_IF_CUDA_ERROR(kernels::DenseBf16Sm90({.tokens = step.shape.rows,
                                                  .rows = spec_->hidden,
                                                  .columns = intermediate,
                                                  .x = a_.hidden,
                                                  .x_stride = intermediate,
                                                  .weights = weights.down,
                                                  .y = a_.delta,
                                                  .y_stride = spec_->hidden},
                                                 stream));
  Mark(OperatorTimer::kMlp, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::Experts(const Step& step, int layer, cudaStream_t stream) {
  const MoeSpec& moe = *spec_->layers[layer].moe;
  const DeviceMlp& weights = model_->layer(layer).mlp;
  R1_RETURN_IF_CUDA_ERROR(kernels::MoeRouterBf16Sm90({.shape = RouterShape(*spec_, moe),
                                                      .tokens = step.shape.rows,
                                                      .x = a_.normed,
                                                      .x_stride = spec_->hidden,
                                                      .router = weights.router,
                                                      .bias = weights.router_bias,
                                                      .experts = a_.experts,
                                                      .weights = a_.expert_weights},
                                                     stream));
  Mark(OperatorTimer::kRouter, stream);
  R1_RETURN_IF_CUDA_ERROR(
      kernels::MoeExpertsBf16Sm90({.shape = ExpertsShape(*spec_, moe),
                                   .tokens = step.shape.rows,
                                   .x = a_.normed,
                                   .x_stride = spec_->hidden,
                                   .experts = a_.experts,
                                   .weights = a_.expert_weights,
                                   .gate_up = weights.gate_up,
                                   .down = weights.down,
                                   .out = a_.delta,
                                   .out_stride = spec_->hidden,
                                   .workspace = a_.expert_workspaces[expert_shape_of_layer_[layer]],
                                   .workspace_tokens = shape_.rows_max},
                                  stream));
  Mark(OperatorTimer::kExperts, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::Draw(const Step& step, cudaStream_t stream) {
  if (step.shape.draws == 0) return absl::OkStatus();
  R1_RETURN_IF_CUDA_ERROR(
      kernels::ResidualNormBf16Sm90({.rows = step.shape.draws,
                                     .hidden = spec_->hidden,
                                     .residual = a_.residual,
                                     .delta = a_.delta,
                                     .row_ids = step.inputs.draw_rows,
                                     .weight = model_->final_norm(),
                                     .eps = static_cast<float>(spec_->rms_norm_eps),
                                     .y = a_.draws_normed},
                                    stream));
  Mark(OperatorTimer::kNorm, stream);
  for (int first = 0; first < step.shape.draws; first += kernels::kSampleHeadRowsMax) {
    R1_RETURN_IF_CUDA_ERROR(kernels::SampleHeadBf16Sm90(
        {.rows = std::min(step.shape.draws - first, kernels::kSampleHeadRowsMax),
         .hidden = spec_->hidden,
         .vocab = spec_->vocab,
         .x = a_.draws_normed + int64_t{first} * spec_->hidden,
         .x_stride = spec_->hidden,
         .head = model_->head(),
         .temperatures = step.inputs.temperatures + first,
         .rngs = step.inputs.rngs + first,
         .positions = step.inputs.draw_positions + first,
         .tokens = step.results.tokens + first,
         .logprobs = step.results.logprobs + first,
         .workspace = a_.head_workspace},
        stream));
  }
  Mark(OperatorTimer::kHead, stream);
  return absl::OkStatus();
}

}  // namespace r1::rollout
