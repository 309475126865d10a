#include "rollout/engine/cuda/forward_pass.h"

#include <algorithm>

#include "kernels/cuda/dense_bf16_sm90.h"
#include "kernels/cuda/latent_cache_layout.h"
#include "kernels/cuda/moe_experts_bf16_sm90.h"
#include "kernels/cuda/moe_router_bf16_sm90.h"
#include "kernels/cuda/residual_norm_bf16_sm90.h"
#include "kernels/cuda/sample_head_bf16_sm90.h"
#include "kernels/rope.h"
#include "rollout/engine/cuda/layer_shapes.h"

namespace r1::rollout {
namespace {

// The largest of a number over the layers.
template <class Number>
int64_t Widest(const ModelSpec& spec, const Number& number) {
  int64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) widest = std::max<int64_t>(widest, number(layer));
  return widest;
}

}  // namespace

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
  const auto latent = [&](const auto& number) {
    return rows * Widest(spec, [&](const LayerSpec& layer) {
             return layer.mla.has_value() ? number(*layer.mla) : 0;
           });
  };
  const auto either = [&](const auto& number) {
    return rows * Widest(spec, [&](const LayerSpec& layer) {
             return layer.mla.has_value() ? number(*layer.mla) : number(*layer.gqa);
           });
  };
  Placement placement(base);
  placement.Take(&a_.residual, rows * spec.hidden);
  placement.Take(&a_.normed, rows * spec.hidden);
  placement.Take(&a_.delta, rows * spec.hidden);
  const int64_t parts = Widest(spec, [&](const LayerSpec& layer) { return DeltaParts(layer); });
  placement.Take(&a_.delta_parts, parts > 1 ? parts * rows * spec.hidden : 0);
  placement.Take(&a_.input, either([](const auto& a) { return InputWidth(a); }));
  placement.Take(&a_.query_normed, latent([](const MlaSpec& a) { return a.q_lora_rank; }));
  placement.Take(&a_.query, either([](const auto& a) { return QueryWidth(a); }));
  placement.Take(&a_.absorbed,
                 latent([](const MlaSpec& a) { return a.heads * kernels::kCacheChannels; }));
  placement.Take(&a_.attention,
                 latent([](const MlaSpec& a) { return a.heads * kernels::kLatentChannels; }));
  placement.Take(&a_.values, rows * Widest(spec, [](const LayerSpec& layer) {
                               return layer.mla.has_value()
                                          ? layer.mla->heads * layer.mla->v_head_dim
                                          : QueryWidth(*layer.gqa);
                             }));
  placement.Take(&a_.hidden, rows * Widest(spec, [](const LayerSpec& layer) {
                               return layer.dense.has_value() ? layer.dense->intermediate : 0;
                             }));
  const int64_t slots = rows * Widest(spec, [](const LayerSpec& layer) {
                          return layer.moe.has_value() ? layer.moe->experts_per_token : 0;
                        });
  placement.Take(&a_.experts, slots);
  placement.Take(&a_.expert_weights, slots);
  placement.Take(&a_.draws_normed, int64_t{shape_.draws_max} * spec.hidden);
  if (PromptContextMax() > 0) {
    placement.Take(&a_.context, int64_t{std::max(PromptContextMax(), shape_.positions_max)} *
                                    kernels::kCacheChannels);
    placement.Take(&a_.keys_values, PromptKeysValues());
  }
  placement.Take(&a_.attention_workspace, Widest(spec, [&](const LayerSpec& layer) {
    return layer.mla.has_value() ? MlaWorkspaceBytes(*layer.mla) : GqaWorkspaceBytes(*layer.gqa);
  }));
  placement.Take(&a_.attention_counters, rows * Widest(spec, [](const LayerSpec& layer) {
                                           return layer.gqa.has_value() ? layer.gqa->kv_heads : 0;
                                         }));
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

absl::StatusOr<ForwardPass> ForwardPass::Make(const ModelSpec& spec, const DeviceModel& model,
                                              const RunnerShape& shape, bool batch_invariant,
                                              OperatorTimer* timer) {
  ForwardPass pass(spec, model, shape, batch_invariant, timer);
  const int64_t bytes = pass.Place(nullptr);
  R1_ASSIGN_OR_RETURN(pass.memory_, AllocateDevice(bytes, "the activations"));
  // The counters of experts and attention begin at zero.
  R1_RETURN_IF_CUDA_ERROR(cudaMemset(pass.memory_.get(), 0, static_cast<size_t>(bytes)));
  pass.Place(pass.memory_.get());

  std::vector<RopeSpec> ropes;
  std::vector<size_t> rope_of_layer;
  for (const LayerSpec& layer : spec.layers) {
    const auto known = std::find(ropes.begin(), ropes.end(), layer.rope());
    rope_of_layer.push_back(known - ropes.begin());
    if (known == ropes.end()) ropes.push_back(layer.rope());
  }
  const int64_t table_floats = shape.positions_max * 2 * Widest(spec, [](const LayerSpec& layer) {
                                 return layer.rope().dim;
                               });
  R1_ASSIGN_OR_RETURN(
      pass.rope_memory_,
      AllocateDevice(static_cast<int64_t>(ropes.size()) * table_floats * 4, "rotary embeddings"));
  auto* const tables = reinterpret_cast<float*>(pass.rope_memory_.get());
  for (size_t i = 0; i < ropes.size(); ++i) {
    const std::vector<float> table =
        kernels::MakeRopeTable(ropes[i].inverse_frequencies, ropes[i].magnitude,
                               ropes[i].interleaved, shape.positions_max);
    R1_CHECK(static_cast<int64_t>(table.size()) <= table_floats);
    R1_RETURN_IF_CUDA_ERROR(cudaMemcpy(tables + i * table_floats, table.data(),
                                       table.size() * sizeof(float), cudaMemcpyHostToDevice));
  }
  for (const size_t rope : rope_of_layer) {
    pass.rope_table_of_layer_.push_back(tables + rope * table_floats);
  }
  return pass;
}

PromptRows ForwardPass::Cut(const StepBatch& batch) const {
  const int context_rows_max = PromptContextMax();
  // Latents that are not multiplied out are attended alike by all rows.
  if (spec_->layers.front().mla.has_value() && context_rows_max == 0) return {};
  return CutPrompts(batch, shape_.block_tokens, context_rows_max);
}

std::vector<PromptRows::Range> ForwardPass::SingleRows(const Step& step) const {
  if (!step.prompts.passes.empty()) return step.prompts.others;
  return {{.first = 0, .count = step.shape.rows}};
}

absl::Status ForwardPass::Enqueue(const Step& step, uint8_t* cache, cudaStream_t stream) {
  if (timer_ != nullptr) timer_->Begin(stream);
  const int64_t layer_bytes = int64_t{shape_.block_count} * CacheBlockBytes(*spec_);
  for (int layer = 0; layer < static_cast<int>(spec_->layers.size()); ++layer) {
    const DeviceLayer& weights = model_->layer(layer);
    R1_RETURN_IF_ERROR(Norm(step, weights.attention.norm, layer == 0, stream));
    uint8_t* const layer_cache = cache + layer * layer_bytes;
    R1_RETURN_IF_ERROR(spec_->layers[layer].mla.has_value()
                           ? MlaAttention(step, layer, layer_cache, stream)
                           : GqaAttention(step, layer, layer_cache, stream));
    delta_parts_ = 1;
    delta_experts_ = {};
    R1_RETURN_IF_ERROR(Norm(step, weights.mlp_norm, false, stream));
    R1_RETURN_IF_ERROR(spec_->layers[layer].dense.has_value() ? DenseMlp(step, layer, stream)
                                                              : Experts(step, layer, stream));
    delta_parts_ = DeltaParts(spec_->layers[layer]);
  }
  return Draw(step, stream);
}

int ForwardPass::DeltaParts(const LayerSpec& layer) const {
  if (!layer.dense.has_value()) return 1;
  return kernels::DenseBf16ColumnParts(spec_->hidden, layer.dense->intermediate);
}

void ForwardPass::AddDelta(const Step& step, kernels::ResidualNormBf16Args* args) const {
  if (delta_experts_.results != nullptr) {
    args->experts = delta_experts_;
  } else if (delta_parts_ == 1) {
    args->delta = a_.delta;
  } else {
    args->delta_parts = a_.delta_parts;
    args->part_count = delta_parts_;
    args->part_stride = int64_t{step.shape.rows} * spec_->hidden;
  }
}

absl::Status ForwardPass::Norm(const Step& step, const float* weight, bool begins,
                               cudaStream_t stream) {
  kernels::ResidualNormBf16Args args = {.rows = step.shape.rows,
                                        .hidden = spec_->hidden,
                                        .residual = a_.residual,
                                        .tokens = begins ? step.inputs.token_ids : nullptr,
                                        .embedding = begins ? model_->embedding() : nullptr,
                                        .weight = weight,
                                        .eps = static_cast<float>(spec_->rms_norm_eps),
                                        .y = a_.normed};
  if (!begins) AddDelta(step, &args);
  R1_RETURN_IF_CUDA_ERROR(kernels::ResidualNormBf16Sm90(args, stream));
  Mark(OperatorTimer::kNorm, stream);
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
                                                  .y_stride = spec_->hidden,
                                                  .column_parts = DeltaParts(spec_->layers[layer]),
                                                  .sums = a_.delta_parts},
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
  const kernels::MoeExpertsBf16Args args = {
      .shape = ExpertsShape(*spec_, moe),
      .tokens = step.shape.rows,
      .x = a_.normed,
      .x_stride = spec_->hidden,
      .experts = a_.experts,
      .weights = a_.expert_weights,
      .gate_up = weights.gate_up,
      .down = weights.down,
      .fp8_weights = weights.fp8,
      .workspace = a_.expert_workspaces[expert_shape_of_layer_[layer]],
      .workspace_tokens = shape_.rows_max};
  R1_RETURN_IF_CUDA_ERROR(kernels::MoeExpertsBf16Sm90(args, stream));
  delta_experts_ = kernels::MoeExpertsBf16Sm90Results(args);
  Mark(OperatorTimer::kExperts, stream);
  return absl::OkStatus();
}

absl::Status ForwardPass::Draw(const Step& step, cudaStream_t stream) {
  if (step.shape.draws == 0) return absl::OkStatus();
  kernels::ResidualNormBf16Args norm = {.rows = step.shape.draws,
                                        .hidden = spec_->hidden,
                                        .residual = a_.residual,
                                        .row_ids = step.inputs.draw_rows,
                                        .weight = model_->final_norm(),
                                        .eps = static_cast<float>(spec_->rms_norm_eps),
                                        .y = a_.draws_normed};
  AddDelta(step, &norm);
  R1_RETURN_IF_CUDA_ERROR(kernels::ResidualNormBf16Sm90(norm, stream));
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
