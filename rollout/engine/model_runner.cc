#include "rollout/engine/model_runner.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"

namespace r1::rollout {
namespace {

constexpr int kRowBlock = 64;
constexpr int kGrainRows = 8;  // rows of a register tile: threads get whole tiles

int QueryWidth(const MlaSpec& a) { return a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim); }
int CacheWidth(const MlaSpec& a) { return a.kv_lora_rank + a.qk_rope_head_dim; }
// Columns of the first projection before the latent begins.
int InputQueryWidth(const MlaSpec& a) { return a.q_lora_rank > 0 ? a.q_lora_rank : QueryWidth(a); }

// The largest of a number over the layers.
template <class Number>
int64_t Widest(const ModelSpec& spec, const Number& number) {
  int64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) widest = std::max<int64_t>(widest, number(layer));
  return widest;
}

int64_t MlpWidth(const LayerSpec& layer) {
  if (layer.dense.has_value()) return layer.dense->intermediate;
  return std::max(layer.moe->intermediate, layer.moe->shared_intermediate);
}

// The rows of a sequence are neighbours and share its table.
bool IsOneTokenPerSequence(const StepBatch& batch) {
  return std::adjacent_find(batch.block_tables.begin(), batch.block_tables.end()) ==
         batch.block_tables.end();
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

}  // namespace

// Adds the time of its life to an operator. Only the owner thread is measured.
class ModelRunner::Timer {
 public:
  Timer(ModelRunner* runner, Operator operation, int thread)
      : seconds_(runner->shape_.profile && thread == 0 ? &runner->operator_seconds_[operation]
                                                       : nullptr) {
    if (seconds_ != nullptr) start_ = RealClock().MonotonicSeconds();
  }
  ~Timer() {
    if (seconds_ == nullptr) return;
    *seconds_ += RealClock().MonotonicSeconds() - start_;
  }

 private:
  double* seconds_;
  double start_ = 0;
};

absl::Status ModelRunner::CheckSpec(const ModelSpec& spec) {
  if (spec.layers.empty() || spec.vocab < 1 || spec.vocab > kernels::kVocabMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at least one layer and a vocabulary of 1 to ", kernels::kVocabMax,
                     ", found ", spec.layers.size(), " layers and ", spec.vocab));
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const MlaSpec& a = *spec.layers[i].mla;
    const std::string where = absl::StrCat("layer ", i);
    if (a.qk_rope_head_dim % 2 != 0 || a.rope.dim != a.qk_rope_head_dim) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected qk_rope_head_dim even and equal to rope.dim, found ",
                       a.qk_rope_head_dim, " and ", a.rope.dim));
    }
    if (spec.layers[i].moe.has_value()) R1_RETURN_IF_ERROR(CheckMoe(*spec.layers[i].moe, where));
  }
  return absl::OkStatus();
}

int64_t ModelRunner::CacheBytesPerToken(const ModelSpec& spec) {
  int64_t floats = 0;
  for (const LayerSpec& layer : spec.layers) floats += CacheWidth(*layer.mla);
  return floats * static_cast<int64_t>(sizeof(float));
}

ModelRunner::ModelRunner(const ModelSpec& spec, const kernels::KernelTable& kernels,
                         const Shape& shape)
    : spec_(spec), kernels_(kernels), shape_(shape), pool_(shape.threads), scratch_(shape.threads) {
  using Floats = kernels::AlignedBuffer<float>;
  const auto attention_widest = [&](auto number) {
    return Widest(spec, [&](const LayerSpec& layer) { return number(*layer.mla); });
  };
  for (Scratch& scratch : scratch_) {
    scratch.normed = Floats(int64_t{kRowBlock} * spec.hidden);
    scratch.input = Floats(kRowBlock * attention_widest([](const MlaSpec& a) {
                             return InputQueryWidth(a) + CacheWidth(a);
                           }));
    scratch.query = Floats(kRowBlock * attention_widest(QueryWidth));
    scratch.key =
        Floats(kRowBlock * attention_widest([](const MlaSpec& a) { return a.qk_rope_head_dim; }));
    scratch.attention = Floats(
        kRowBlock * attention_widest([](const MlaSpec& a) { return a.heads * a.kv_lora_rank; }));
    scratch.values = Floats(
        kRowBlock * attention_widest([](const MlaSpec& a) { return a.heads * a.v_head_dim; }));
    scratch.hidden = Floats(kRowBlock * Widest(spec, MlpWidth));
  }

  int64_t cache_floats = 0;
  for (const LayerSpec& layer : spec.layers) {
    cache_offsets_.push_back(cache_floats);
    cache_floats += int64_t{shape.block_count} * shape.block_tokens * CacheWidth(*layer.mla);
    rope_table_of_layer_.push_back(static_cast<int>(rope_tables_.size()));
    const RopeSpec& rope = layer.rope();
    for (size_t other = 0; other + 1 < rope_table_of_layer_.size(); ++other) {
      const RopeSpec& before = spec.layers[other].rope();
      if (before == rope) rope_table_of_layer_.back() = rope_table_of_layer_[other];
    }
    if (rope_table_of_layer_.back() == static_cast<int>(rope_tables_.size())) {
      rope_tables_.push_back(kernels::MakeRopeTable(rope.inverse_frequencies, rope.magnitude,
                                                    rope.interleaved, shape.positions_max));
    }
  }
  cache_ = Floats(cache_floats);

  const int64_t rows = shape.rows_max;
  const int64_t active = Widest(spec, [](const LayerSpec& layer) {
    return layer.moe.has_value() ? layer.moe->experts_per_token : 0;
  });
  residual_ = Floats(rows * spec.hidden);
  absorbed_ =
      Floats(rows * attention_widest([](const MlaSpec& a) { return a.heads * CacheWidth(a); }));
  moe_input_ = Floats(rows * spec.hidden);
  moe_weights_ = Floats(rows * active);
  moe_experts_ = kernels::AlignedBuffer<int32_t>(rows * active);
  moe_results_ = Floats(rows * active * spec.hidden);
}

template <class Body>
void ModelRunner::ForRows(int count, const Body& body) {
  pool_.ParallelFor(count, kGrainRows, [&](int thread, int begin, int end) {
    for (int first = begin; first < end; first += kRowBlock) {
      body(Rows{first, std::min(kRowBlock, end - first), thread});
    }
  });
}

absl::Status ModelRunner::LoadWeights(const WeightsSnapshot& weights) {
  R1_ASSIGN_OR_RETURN(model_, PackModel(spec_, weights));
  return absl::OkStatus();
}

absl::Status ModelRunner::Run(StepBatch* batch) {
  R1_CHECK(batch->rows() > 0);
  R1_CHECK(batch->rows() <= shape_.rows_max);
  CopyBlocks(batch->copies);
  const int rows = batch->rows();
  const int layers = static_cast<int>(spec_.layers.size());
  // A block of rows can go on to its attention at once, while its part of the cache is still in the
  // processor's caches, unless another thread computes an earlier token of the same sequence.
  const bool blocks_are_independent = pool_.threads() == 1 || IsOneTokenPerSequence(*batch);
  for (int layer = 0; layer < layers; ++layer) {
    const LayerWeights& weights = model_.layers[layer];
    const auto attention_output = [&](const Rows& block) {
      AttentionOutput(layer, weights.attention, *batch, block);
      MlpOrRouter(layer, weights, block);
    };
    ForRows(rows, [&](const Rows& block) {
      if (layer == 0) {
        Embed(model_, *batch, block);
      } else {
        Combine(layer - 1, block);
      }
      AttentionInput(layer, weights.attention, *batch, block);
      if (blocks_are_independent) attention_output(block);
    });
    if (!blocks_are_independent) ForRows(rows, attention_output);
    if (spec_.layers[layer].moe.has_value()) RoutedExperts(layer, weights.moe, rows);
  }
  ForRows(rows, [&](const Rows& block) { Combine(layers - 1, block); });
  Draw(model_, &batch->draws);
  return absl::OkStatus();
}

kernels::LatentCache ModelRunner::Cache(int layer) {
  const int width = CacheWidth(*spec_.layers[layer].mla);
  return {.blocks = cache_.data() + cache_offsets_[layer],
          .block_stride = int64_t{shape_.block_tokens} * width,
          .block_tokens = shape_.block_tokens,
          .width = width};
}

void ModelRunner::CopyBlocks(const std::vector<BlockCopy>& copies) {
  for (int layer = 0; layer < static_cast<int>(spec_.layers.size()); ++layer) {
    const kernels::LatentCache cache = Cache(layer);
    for (const BlockCopy& copy : copies) {
      std::memcpy(cache.blocks + copy.target * cache.block_stride,
                  cache.blocks + copy.source * cache.block_stride,
                  cache.block_stride * sizeof(float));
    }
  }
}

void ModelRunner::Embed(const PackedModel& model, const StepBatch& batch, const Rows& rows) {
  const Timer timer(this, kEmbed, rows.thread);
  for (int r = 0; r < rows.count; ++r) {
    const int64_t token = batch.token_ids[rows.first + r];
    std::memcpy(Residual(rows) + int64_t{r} * spec_.hidden, &model.embedding[token * spec_.hidden],
                spec_.hidden * sizeof(float));
  }
}

void ModelRunner::AttentionInput(int layer, const AttentionWeights& weights, const StepBatch& batch,
                                 const Rows& rows) {
  const MlaSpec& a = *spec_.layers[layer].mla;
  Scratch& scratch = scratch_[rows.thread];
  const int width = weights.input.view.n;
  float* latent = scratch.input.data() + InputQueryWidth(a);
  {
    const Timer timer(this, kNorm, rows.thread);
    kernels_.rms_norm({.x = Residual(rows),
                       .x_stride = spec_.hidden,
                       .weight = weights.norm.data(),
                       .y = scratch.normed.data(),
                       .y_stride = spec_.hidden,
                       .row_count = rows.count,
                       .columns = spec_.hidden,
                       .eps = static_cast<float>(spec_.rms_norm_eps)});
  }
  {
    const Timer timer(this, kProjections, rows.thread);
    kernels_.matmul({.x = scratch.normed.data(),
                     .x_stride = spec_.hidden,
                     .w = weights.input.view,
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
    kernels_.rope({.table = rope_tables_[rope_table_of_layer_[layer]].data(),
                   .dim = a.rope.dim,
                   .interleaved = a.rope.interleaved,
                   .positions = &batch.positions[rows.first],
                   .row_count = rows.count,
                   .heads = 1,
                   .x = latent + a.kv_lora_rank,
                   .x_stride = width,
                   .y = scratch.key.data(),
                   .y_stride = a.qk_rope_head_dim});
    const kernels::LatentCache cache = Cache(layer);
    for (int r = 0; r < rows.count; ++r) {
      const int position = batch.positions[rows.first + r];
      const int64_t block = batch.block_tables[rows.first + r][position / shape_.block_tokens];
      float* row = cache.blocks + block * cache.block_stride +
                   int64_t{position % shape_.block_tokens} * cache.width;
      std::memcpy(row, latent + int64_t{r} * width, a.kv_lora_rank * sizeof(float));
      std::memcpy(row + a.kv_lora_rank, scratch.key.data() + int64_t{r} * a.qk_rope_head_dim,
                  a.qk_rope_head_dim * sizeof(float));
    }
  }
  AbsorbQuery(layer, weights, batch, rows);
}

void ModelRunner::AbsorbQuery(int layer, const AttentionWeights& weights, const StepBatch& batch,
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
    kernels_.matmul({.x = query,
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
  float* absorbed = absorbed_.data() + int64_t{rows.first} * absorbed_stride;
  {
    const Timer timer(this, kProjections, rows.thread);
    for (int head = 0; head < a.heads; ++head) {
      kernels_.matmul({.x = query + head * head_width,
                       .x_stride = query_stride,
                       .w = weights.key_absorb[head].view,
                       .y = absorbed + head * CacheWidth(a),
                       .y_stride = absorbed_stride,
                       .m = rows.count});
    }
  }
  const Timer timer(this, kRope, rows.thread);
  kernels_.rope({.table = rope_tables_[rope_table_of_layer_[layer]].data(),
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

void ModelRunner::AttentionOutput(int layer, const AttentionWeights& weights,
                                  const StepBatch& batch, const Rows& rows) {
  const MlaSpec& a = *spec_.layers[layer].mla;
  Scratch& scratch = scratch_[rows.thread];
  const int absorbed_stride = a.heads * CacheWidth(a);
  const int attention_stride = a.heads * a.kv_lora_rank;
  {
    const Timer timer(this, kAttention, rows.thread);
    kernels_.mla_decode({.q = absorbed_.data() + int64_t{rows.first} * absorbed_stride,
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
      kernels_.matmul({.x = scratch.attention.data() + head * a.kv_lora_rank,
                       .x_stride = attention_stride,
                       .w = weights.value_up[head].view,
                       .y = scratch.values.data() + head * a.v_head_dim,
                       .y_stride = values_stride,
                       .m = rows.count});
    }
    values = scratch.values.data();
  }
  kernels_.matmul({.x = values,
                   .x_stride = values_stride,
                   .w = weights.output.view,
                   .y = Residual(rows),
                   .y_stride = spec_.hidden,
                   .m = rows.count,
                   .accumulate = true});
}

void ModelRunner::MlpOrRouter(int layer, const LayerWeights& weights, const Rows& rows) {
  const LayerSpec& spec = spec_.layers[layer];
  // The experts gather rows of the whole batch.
  float* normed = spec.moe.has_value() ? moe_input_.data() + int64_t{rows.first} * spec_.hidden
                                       : scratch_[rows.thread].normed.data();
  {
    const Timer timer(this, kNorm, rows.thread);
    kernels_.rms_norm({.x = Residual(rows),
                       .x_stride = spec_.hidden,
                       .weight = weights.mlp_norm.data(),
                       .y = normed,
                       .y_stride = spec_.hidden,
                       .row_count = rows.count,
                       .columns = spec_.hidden,
                       .eps = static_cast<float>(spec_.rms_norm_eps)});
  }
  if (weights.mlp.gate_up.intermediate > 0) Mlp(weights.mlp, normed, rows);
  if (!spec.moe.has_value()) return;
  const Timer timer(this, kRouter, rows.thread);
  const MoeSpec& moe = *spec.moe;
  const int64_t first_slot = int64_t{rows.first} * moe.experts_per_token;
  kernels_.moe_router({.x = normed,
                       .x_stride = spec_.hidden,
                       .router = weights.moe.router.view,
                       .bias = weights.moe.router_bias.data(),
                       .token_count = rows.count,
                       .active = moe.experts_per_token,
                       .groups = moe.expert_groups,
                       .groups_kept = moe.expert_groups_kept,
                       .normalize = moe.normalize_weights,
                       .scaling = static_cast<float>(moe.routed_scaling_factor),
                       .experts = moe_experts_.data() + first_slot,
                       .weights = moe_weights_.data() + first_slot});
}

void ModelRunner::Mlp(const MlpWeights& weights, const float* x, const Rows& rows) {
  const Timer timer(this, kMlp, rows.thread);
  Scratch& scratch = scratch_[rows.thread];
  const int width = weights.gate_up.intermediate;
  kernels_.swiglu({.x = x,
                   .x_stride = spec_.hidden,
                   .w = weights.gate_up,
                   .y = scratch.hidden.data(),
                   .y_stride = width,
                   .m = rows.count});
  kernels_.matmul({.x = scratch.hidden.data(),
                   .x_stride = width,
                   .w = weights.down.view,
                   .y = Residual(rows),
                   .y_stride = spec_.hidden,
                   .m = rows.count,
                   .accumulate = true});
}

void ModelRunner::RoutedExperts(int layer, const MoeWeights& weights, int row_count) {
  const MoeSpec& moe = *spec_.layers[layer].moe;
  {
    const Timer timer(this, kRouter, 0);
    kernels::BuildExpertLists(moe_experts_.data(), row_count, moe.experts_per_token, moe.experts,
                              &expert_lists_);
  }
  pool_.ParallelFor(row_count * moe.experts_per_token, kGrainRows,
                    [&](int thread, int begin, int end) {
                      const Timer timer(this, kExperts, thread);
                      kernels_.moe_experts({.x = moe_input_.data(),
                                            .x_stride = spec_.hidden,
                                            .offsets = expert_lists_.offsets.data(),
                                            .tokens = expert_lists_.tokens.data(),
                                            .expert_count = moe.experts,
                                            .place_begin = begin,
                                            .place_end = end,
                                            .gate_up = weights.gate_up.data(),
                                            .down = weights.down.data(),
                                            .hidden = scratch_[thread].hidden.data(),
                                            .results = moe_results_.data()});
                    });
}

void ModelRunner::Combine(int layer, const Rows& rows) {
  if (!spec_.layers[layer].moe.has_value()) return;
  const Timer timer(this, kCombine, rows.thread);
  const int active = spec_.layers[layer].moe->experts_per_token;
  const int64_t first_slot = int64_t{rows.first} * active;
  kernels_.moe_combine({.results = moe_results_.data(),
                        .places = expert_lists_.places.data() + first_slot,
                        .weights = moe_weights_.data() + first_slot,
                        .token_count = rows.count,
                        .active = active,
                        .columns = spec_.hidden,
                        .y = Residual(rows),
                        .y_stride = spec_.hidden});
}

void ModelRunner::Draw(const PackedModel& model, Draws* draws) {
  const int count = static_cast<int>(draws->rows.size());
  draws->tokens.resize(count);
  draws->logprobs.resize(count);
  ForRows(count, [&](const Rows& block) {
    const Timer timer(this, kHead, block.thread);
    float* normed = scratch_[block.thread].normed.data();
    kernels_.rms_norm({.x = residual_.data(),
                       .x_stride = spec_.hidden,
                       .rows = &draws->rows[block.first],
                       .weight = model.final_norm.data(),
                       .y = normed,
                       .y_stride = spec_.hidden,
                       .row_count = block.count,
                       .columns = spec_.hidden,
                       .eps = static_cast<float>(spec_.rms_norm_eps)});
    double uniforms[kRowBlock];
    for (int i = 0; i < block.count; ++i) {
      const int draw = block.first + i;
      uniforms[i] = draws->rngs[draw].UniformAt(draws->positions[draw]);
    }
    kernels_.sample_head({.x = normed,
                          .x_stride = spec_.hidden,
                          .head = model.head.view,
                          .m = block.count,
                          .temperatures = &draws->temperatures[block.first],
                          .uniforms = uniforms,
                          .tokens = &draws->tokens[block.first],
                          .logprobs = &draws->logprobs[block.first]});
  });
}

std::vector<OperatorTime> ModelRunner::operator_times() const {
  constexpr const char* kNames[kOperatorCount] = {"embed",     "norm", "projections", "rope",
                                                  "attention", "mlp",  "router",      "experts",
                                                  "combine",   "head"};
  std::vector<OperatorTime> times;
  for (int i = 0; i < kOperatorCount; ++i) times.push_back({kNames[i], operator_seconds_[i]});
  return times;
}

const RunnerKind& CpuRunnerKind() {
  static constexpr RunnerKind kKind = {
      .default_block_tokens = 16,
      .check =
          [](const ModelSpec& spec, const EngineOptions& options) {
            R1_RETURN_IF_ERROR(ModelRunner::CheckSpec(spec));
            return kernels::ParseIsa(options.isa).status();
          },
      .cache_bytes_per_token = ModelRunner::CacheBytesPerToken,
      .make = [](const ModelSpec& spec, const EngineOptions& options,
                 const RunnerShape& shape) -> absl::StatusOr<std::unique_ptr<Runner>> {
        R1_ASSIGN_OR_RETURN(const kernels::IsaName isa, kernels::ParseIsa(options.isa));
        return std::make_unique<ModelRunner>(
            spec, kernels::KernelsFor(isa),
            ModelRunner::Shape{.threads = options.threads,
                               .block_count = shape.block_count,
                               .block_tokens = shape.block_tokens,
                               .rows_max = shape.rows_max,
                               .positions_max = shape.positions_max,
                               .profile = options.profile});
      }};
  return kKind;
}

}  // namespace r1::rollout
