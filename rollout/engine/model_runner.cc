#include "rollout/engine/model_runner.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "common/clock.h"
#include "rollout/engine/layer_sizes.h"

namespace r1::rollout {
namespace {

constexpr int kRowBlock = 64;
// Weights of a product from which on few rows share its columns among the threads.
constexpr int64_t kSharedWeights = 1 << 16;
// The same for attention, in floats of the cache.
constexpr int64_t kSharedCache = 1 << 13;
constexpr int kGrainRows = 8;  // rows of a register tile: threads get whole tiles

constexpr int kHeadTile = 4;            // heads that a kernel takes at a time
constexpr int kLogitRows = kGrainRows;  // rows of whole logits at a time

WeightType TypeOf(const EngineOptions& options) {
  return options.weights == "bf16" ? WeightType::kBf16 : WeightType::kFp32;
}

// Of all rows together, of the arguments of attention.
template <class Args>
int64_t CachedTokens(const Args& args) {
  return std::accumulate(args.contexts, args.contexts + args.row_count, int64_t{0});
}

// What AttentionOutput does for a row: multiply-adds with fp32 keys and values, which take twice as
// long, and with weights.
int64_t AttentionCost(const LayerSpec& layer, int hidden, int context) {
  if (layer.gqa.has_value()) {
    const int64_t width = QueryWidth(*layer.gqa);
    return 2 * 2 * width * context + width * hidden;
  }
  const MlaSpec& a = *layer.mla;
  const int64_t values = int64_t{a.heads} * a.v_head_dim;
  return int64_t{2} * a.heads * (CacheWidth(a) + a.kv_lora_rank) * context +
         values * (a.kv_lora_rank + hidden);
}

// The rows of a sequence are neighbours and share its table.
bool IsOneTokenPerSequence(const StepBatch& batch) {
  return std::adjacent_find(batch.block_tables.begin(), batch.block_tables.end()) ==
         batch.block_tables.end();
}

}  // namespace

ModelRunner::Timer::Timer(ModelRunner* runner, Operator operation, int thread)
    : seconds_(runner->shape_.profile && thread == 0 ? &runner->operator_seconds_[operation]
                                                     : nullptr) {
  if (seconds_ != nullptr) start_ = RealClock().MonotonicSeconds();
}

ModelRunner::Timer::~Timer() {
  if (seconds_ != nullptr) *seconds_ += RealClock().MonotonicSeconds() - start_;
}

ModelRunner::ModelRunner(const ModelSpec& spec, const kernels::KernelTable& kernels,
                         const Shape& shape)
    : spec_(spec), kernels_(kernels), shape_(shape), pool_(shape.threads), scratch_(shape.threads) {
  using Floats = kernels::AlignedBuffer<float>;
  const LayerSizes sizes = LargestSizes(spec);
  for (Scratch& scratch : scratch_) {
    scratch.normed = Floats(int64_t{kRowBlock} * spec.hidden);
    scratch.input = Floats(kRowBlock * sizes.input);
    scratch.query = Floats(kRowBlock * sizes.query);
    scratch.key = Floats(kRowBlock * sizes.key);
    scratch.attention = Floats(kRowBlock * sizes.attention);
    scratch.values = Floats(kRowBlock * sizes.values);
    scratch.hidden = Floats(kRowBlock * sizes.mlp);
  }

  int64_t cache_floats = 0;
  for (const LayerSpec& layer : spec.layers) {
    cache_offsets_.push_back(cache_floats);
    cache_floats += int64_t{shape.block_count} * shape.block_tokens * CacheWidth(layer);
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
  residual_ = Floats(rows * spec.hidden);
  queries_ = Floats(rows * sizes.attended);
  moe_input_ = Floats(rows * spec.hidden);
  moe_weights_ = Floats(rows * sizes.active);
  moe_experts_ = kernels::AlignedBuffer<int32_t>(rows * sizes.active);
  moe_results_ = Floats(rows * sizes.active * spec.hidden);
}

template <class Body>
void ModelRunner::ForRows(int count, int block, const Body& body) {
  if (count <= kGrainRows) {
    if (count > 0) body(Rows{.first = 0, .count = count, .thread = 0, .are_all = true});
    return;
  }
  pool_.ParallelFor(count, kGrainRows, [&](int thread, int begin, int end) {
    for (int first = begin; first < end; first += block) {
      body(Rows{.first = first,
                .count = std::min(block, end - first),
                .thread = thread,
                .are_all = false});
    }
  });
}

template <class Body>
void ModelRunner::ForCutRows(const Body& body) {
  pool_.ParallelFor(pool_.threads(), 1, [&](int thread, int, int) {
    const int end = row_borders_[thread + 1];
    for (int first = row_borders_[thread]; first < end; first += kRowBlock) {
      body(Rows{.first = first,
                .count = std::min(kRowBlock, end - first),
                .thread = thread,
                .are_all = false});
    }
  });
}

void ModelRunner::Matmul(const Rows& rows, const kernels::MatmulArgs& args) {
  const int panels = (args.w.n + kernels::kPanelColumns - 1) / kernels::kPanelColumns;
  if (!rows.are_all || int64_t{args.w.n} * args.w.k < kSharedWeights) {
    kernels_.matmul(args);
    return;
  }
  pool_.ParallelFor(panels, 1, [&](int, int begin, int end) {
    const int column = begin * kernels::kPanelColumns;
    kernels::MatmulArgs part = args;
    part.w = {args.w.panels.From(int64_t{column} * args.w.k),
              std::min(args.w.n, end * kernels::kPanelColumns) - column, args.w.k};
    if (part.bias != nullptr) part.bias += column;
    part.y += column;
    kernels_.matmul(part);
  });
}

void ModelRunner::Swiglu(const Rows& rows, const kernels::SwigluArgs& args) {
  const int panels = (args.w.intermediate + kernels::kPanelColumns - 1) / kernels::kPanelColumns;
  if (!rows.are_all || int64_t{2} * args.w.intermediate * args.w.k < kSharedWeights) {
    kernels_.swiglu(args);
    return;
  }
  pool_.ParallelFor(panels, 1, [&](int, int begin, int end) {
    const int column = begin * kernels::kPanelColumns;
    kernels::SwigluArgs part = args;
    part.w = {args.w.panels.From(int64_t{2} * column * args.w.k),
              std::min(args.w.intermediate, end * kernels::kPanelColumns) - column, args.w.k};
    if (part.gate_bias != nullptr) part.gate_bias += column;
    if (part.up_bias != nullptr) part.up_bias += column;
    part.y += column;
    kernels_.swiglu(part);
  });
}

void ModelRunner::GqaDecode(const Rows& rows, const kernels::GqaDecodeArgs& args) {
  if (!rows.are_all || CachedTokens(args) * args.cache.width < kSharedCache) {
    kernels_.gqa_decode(args);
    return;
  }
  const int shared = args.heads / args.kv_heads;
  pool_.ParallelFor(args.kv_heads, 1, [&](int, int begin, int end) {
    const int column = begin * shared * args.head_dim;
    kernels::GqaDecodeArgs part = args;
    part.q += column;
    part.out += column;
    part.cache.blocks += int64_t{begin} * 2 * args.head_dim;
    part.kv_heads = end - begin;
    part.heads = part.kv_heads * shared;
    kernels_.gqa_decode(part);
  });
}

void ModelRunner::MlaDecode(const Rows& rows, const kernels::MlaDecodeArgs& args) {
  if (!rows.are_all || CachedTokens(args) * args.cache.width < kSharedCache) {
    kernels_.mla_decode(args);
    return;
  }
  pool_.ParallelFor(args.heads, kHeadTile, [&](int, int begin, int end) {
    kernels::MlaDecodeArgs part = args;
    part.q += int64_t{begin} * args.cache.width;
    part.out += int64_t{begin} * args.latent;
    part.heads = end - begin;
    kernels_.mla_decode(part);
  });
}

absl::Status ModelRunner::LoadWeights(const WeightsSnapshot& weights) {
  R1_ASSIGN_OR_RETURN(model_, PackModel(spec_, weights, shape_.weights));
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
      AttentionOutput(layer, weights, *batch, block);
      MlpOrRouter(layer, weights, block);
    };
    ForRows(rows, kRowBlock, [&](const Rows& block) {
      if (layer == 0) {
        Embed(model_, *batch, block);
      } else {
        Combine(layer - 1, block);
      }
      AttentionInput(layer, weights, *batch, block);
      if (blocks_are_independent) attention_output(block);
    });
    if (!blocks_are_independent) {
      CutRows(layer, *batch);
      ForCutRows(attention_output);
    }
    if (spec_.layers[layer].moe.has_value()) RoutedExperts(layer, weights.moe, rows);
  }
  ForRows(rows, kRowBlock, [&](const Rows& block) { Combine(layers - 1, block); });
  DrawFused(model_, &batch->draws.fused);
  DrawFiltered(model_, &batch->draws.filtered);
  return absl::OkStatus();
}

kernels::PagedCache ModelRunner::Cache(int layer) {
  const int width = CacheWidth(spec_.layers[layer]);
  return {.blocks = cache_.data() + cache_offsets_[layer],
          .block_stride = int64_t{shape_.block_tokens} * width,
          .block_tokens = shape_.block_tokens,
          .width = width};
}

float* ModelRunner::CacheRow(const kernels::PagedCache& cache, const StepBatch& batch,
                             int row) const {
  const int position = batch.positions[row];
  const int64_t block = batch.block_tables[row][position / shape_.block_tokens];
  return cache.blocks + block * cache.block_stride +
         int64_t{position % shape_.block_tokens} * cache.width;
}

void ModelRunner::CopyBlocks(const std::vector<BlockCopy>& copies) {
  for (int layer = 0; layer < static_cast<int>(spec_.layers.size()); ++layer) {
    const kernels::PagedCache cache = Cache(layer);
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

void ModelRunner::Norm(const float* x, const int32_t* index, const std::vector<float>& weight,
                       int count, float* y) {
  kernels_.rms_norm({.x = x,
                     .x_stride = spec_.hidden,
                     .rows = index,
                     .weight = weight.data(),
                     .y = y,
                     .y_stride = spec_.hidden,
                     .row_count = count,
                     .columns = spec_.hidden,
                     .eps = static_cast<float>(spec_.rms_norm_eps)});
}

void ModelRunner::AttentionInput(int layer, const LayerWeights& weights, const StepBatch& batch,
                                 const Rows& rows) {
  {
    const Timer timer(this, kNorm, rows.thread);
    Norm(Residual(rows), nullptr, weights.attention_norm, rows.count,
         scratch_[rows.thread].normed.data());
  }
  if (spec_.layers[layer].mla.has_value()) {
    MlaInput(layer, weights.mla, batch, rows);
  } else {
    GqaInput(layer, weights.gqa, batch, rows);
  }
}

void ModelRunner::AttentionOutput(int layer, const LayerWeights& weights, const StepBatch& batch,
                                  const Rows& rows) {
  if (spec_.layers[layer].mla.has_value()) {
    MlaOutput(layer, weights.mla, batch, rows);
  } else {
    GqaOutput(layer, weights.gqa, batch, rows);
  }
}

void ModelRunner::MlpOrRouter(int layer, const LayerWeights& weights, const Rows& rows) {
  const LayerSpec& spec = spec_.layers[layer];
  // The experts gather rows of the whole batch.
  float* normed = spec.moe.has_value() ? moe_input_.data() + int64_t{rows.first} * spec_.hidden
                                       : scratch_[rows.thread].normed.data();
  {
    const Timer timer(this, kNorm, rows.thread);
    Norm(Residual(rows), nullptr, weights.mlp_norm, rows.count, normed);
  }
  if (weights.mlp.gate_up.intermediate > 0) Mlp(weights.mlp, normed, rows);
  if (!spec.moe.has_value()) return;
  const Timer timer(this, kRouter, rows.thread);
  const MoeSpec& moe = *spec.moe;
  const int64_t first_slot = int64_t{rows.first} * moe.experts_per_token;
  kernels_.moe_router({.x = normed,
                       .x_stride = spec_.hidden,
                       .router = weights.moe.router.view,
                       .gate = moe.gate == MoeGate::kSoftmax ? kernels::RouterGate::kSoftmax
                                                             : kernels::RouterGate::kSigmoidBias,
                       .bias = DataOrNull(weights.moe.router_bias),
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
  Swiglu(rows, {.x = x,
                .x_stride = spec_.hidden,
                .w = weights.gate_up,
                .gate_bias = DataOrNull(weights.gate_bias),
                .up_bias = DataOrNull(weights.up_bias),
                .y = scratch.hidden.data(),
                .y_stride = width,
                .m = rows.count});
  Matmul(rows, {.x = scratch.hidden.data(),
                .x_stride = width,
                .w = weights.down.view,
                .bias = DataOrNull(weights.down_bias),
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
    const std::vector<int32_t>& offsets = expert_lists_.offsets;
    for (int e = 0; e < moe.experts; ++e) experts_read_total_ += offsets[e] < offsets[e + 1];
  }
  kernels::CutExpertLists(expert_lists_, pool_.threads(), &expert_borders_);
  pool_.ParallelFor(pool_.threads(), 1, [&](int thread, int, int) {
    const Timer timer(this, kExperts, thread);
    kernels_.moe_experts({.x = moe_input_.data(),
                          .x_stride = spec_.hidden,
                          .offsets = expert_lists_.offsets.data(),
                          .tokens = expert_lists_.tokens.data(),
                          .expert_count = moe.experts,
                          .place_begin = expert_borders_[thread],
                          .place_end = expert_borders_[thread + 1],
                          .gate_up = weights.gate_up.data(),
                          .down = weights.down.data(),
                          .hidden = scratch_[thread].hidden.data(),
                          .results = moe_results_.data()});
  });
}

void ModelRunner::CutRows(int layer, const StepBatch& batch) {
  const int rows = batch.rows();
  const int threads = pool_.threads();
  const auto cost = [&](int row) {
    return AttentionCost(spec_.layers[layer], spec_.hidden, batch.contexts[row]);
  };
  int64_t total = 0;
  for (int row = 0; row < rows; ++row) total += cost(row);
  row_borders_.assign(threads + 1, rows);
  row_borders_[0] = 0;
  int64_t before = 0;
  int thread = 1;
  for (int row = 0; row < rows; ++row) {
    for (; thread < threads && before * threads >= total * thread; ++thread) {
      row_borders_[thread] = row / kGrainRows * kGrainRows;
    }
    before += cost(row);
  }
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

void ModelRunner::DrawFused(const PackedModel& model, FusedDraws* draws) {
  const int count = static_cast<int>(draws->rows.size());
  draws->tokens.resize(count);
  draws->logprobs.resize(count);
  if (kernels::VocabChunks(spec_.vocab) >= 4 * pool_.threads()) {
    DrawShared(model, draws);
    return;
  }
  ForRows(count, kRowBlock, [&](const Rows& block) {
    const Timer timer(this, kHead, block.thread);
    float* normed = scratch_[block.thread].normed.data();
    Norm(residual_.data(), &draws->rows[block.first], model.final_norm, block.count, normed);
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

void ModelRunner::DrawShared(const PackedModel& model, FusedDraws* draws) {
  const int count = static_cast<int>(draws->rows.size());
  const Timer timer(this, kHead, 0);
  float* const normed = moe_input_.data();  // free by now
  Norm(residual_.data(), draws->rows.data(), model.final_norm, count, normed);
  std::vector<double> uniforms(count);
  for (int i = 0; i < count; ++i) uniforms[i] = draws->rngs[i].UniformAt(draws->positions[i]);
  const int chunk_count = kernels::VocabChunks(spec_.vocab);
  vocab_chunks_.resize(static_cast<size_t>(count) * chunk_count);
  const auto arguments = [&](int first, int rows) {
    return kernels::SampleHeadArgs{.x = normed + int64_t{first} * spec_.hidden,
                                   .x_stride = spec_.hidden,
                                   .head = model.head.view,
                                   .m = rows,
                                   .temperatures = draws->temperatures.data() + first,
                                   .uniforms = uniforms.data() + first,
                                   .tokens = draws->tokens.data() + first,
                                   .logprobs = draws->logprobs.data() + first,
                                   .chunks = vocab_chunks_.data() + int64_t{first} * chunk_count};
  };
  pool_.ParallelFor(chunk_count, 1, [&](int, int begin, int end) {
    kernels_.scan_vocab(arguments(0, count), begin, end);
  });
  pool_.ParallelFor(count, 1, [&](int, int begin, int end) {
    kernels_.draw_tokens(arguments(begin, end - begin));
  });
}

void ModelRunner::DrawFiltered(const PackedModel& model, std::vector<FilteredDraw>* draws) {
  ForRows(static_cast<int>(draws->size()), kLogitRows, [&](const Rows& block) {
    const Timer timer(this, kHead, block.thread);
    Scratch& scratch = scratch_[block.thread];
    if (scratch.logits.empty()) {
      scratch.logits = kernels::AlignedBuffer<float>(int64_t{kLogitRows} * spec_.vocab);
    }
    int32_t rows[kLogitRows];
    for (int r = 0; r < block.count; ++r) rows[r] = (*draws)[block.first + r].row;
    Norm(residual_.data(), rows, model.final_norm, block.count, scratch.normed.data());
    Matmul(block, {.x = scratch.normed.data(),
                   .x_stride = spec_.hidden,
                   .w = model.head.view,
                   .y = scratch.logits.data(),
                   .y_stride = spec_.vocab,
                   .m = block.count});
    for (int r = 0; r < block.count; ++r) {
      FilteredDraw& draw = (*draws)[block.first + r];
      draw.drawn = scratch.sampler.Draw(
          draw.rule,
          {scratch.logits.data() + int64_t{r} * spec_.vocab, static_cast<size_t>(spec_.vocab)});
    }
  });
}

absl::Status ModelRunner::Logits(int count, float* logits) {
  R1_CHECK(count <= shape_.rows_max);
  ForRows(count, kRowBlock, [&](const Rows& block) {
    const Timer timer(this, kHead, block.thread);
    float* normed = scratch_[block.thread].normed.data();
    Norm(Residual(block), nullptr, model_.final_norm, block.count, normed);
    Matmul(block, {.x = normed,
                   .x_stride = spec_.hidden,
                   .w = model_.head.view,
                   .y = logits + int64_t{block.first} * spec_.vocab,
                   .y_stride = spec_.vocab,
                   .m = block.count});
  });
  return absl::OkStatus();
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
      .has_logits = true,
      .find_device = [](int) { return absl::OkStatus(); },
      .check =
          [](const ModelSpec& spec, const EngineOptions& options) {
            R1_RETURN_IF_ERROR(CheckSpec(spec));
            if (options.expert_weights != "bf16") {
              return absl::InvalidArgumentError(absl::StrCat(
                  "engine option expert_weights: ", options.expert_weights, " needs a GPU"));
            }
            return kernels::ParseIsa(options.isa, TypeOf(options)).status();
          },
      .cache_bytes_per_token = CacheBytesPerToken,
      .make = [](const ModelSpec& spec, const EngineOptions& options,
                 const RunnerShape& shape) -> absl::StatusOr<std::unique_ptr<Runner>> {
        R1_ASSIGN_OR_RETURN(const kernels::IsaName isa,
                            kernels::ParseIsa(options.isa, TypeOf(options)));
        return std::make_unique<ModelRunner>(
            spec, kernels::KernelsFor(isa),
            ModelRunner::Shape{.threads = options.threads,
                               .weights = TypeOf(options),
                               .block_count = shape.block_count,
                               .block_tokens = shape.block_tokens,
                               .rows_max = shape.rows_max,
                               .positions_max = shape.positions_max,
                               .profile = options.profile});
      }};
  return kKind;
}

}  // namespace r1::rollout
