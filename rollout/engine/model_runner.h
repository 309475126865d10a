// The forward pass of one step on the CPU: a ragged batch of tokens, prompts and single continuing
// tokens alike, through all layers, and the draws at the end. Interprets the ModelSpec; holds the
// KV cache and all activations; knows nothing of requests. The attention blocks are in
// mla_attention.cc and gqa_attention.cc.
//
// A layer is at most three parallel stages, each a loop over blocks of rows that stay in the
// processor's caches from operator to operator: attention input (after which the batch's keys are
// in the KV cache), attention output and MLP or router, routed experts. Each row's results depend
// on its own sequence only, so neither the batch nor the cut into threads shows in a bit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "kernels/aligned_buffer.h"
#include "kernels/kernel_table.h"
#include "kernels/thread_pool.h"
#include "rollout/engine/block_manager.h"
#include "rollout/engine/engine.h"
#include "rollout/engine/filtered_sampler.h"
#include "rollout/engine/runner.h"
#include "rollout/engine/sampler.h"
#include "rollout/engine/weight_store.h"

namespace r1::rollout {

// One owner thread calls Run; the stages run on a pool of its own.
class ModelRunner : public Runner {
 public:
  struct Shape {
    int threads;
    WeightType weights;
    int block_count;
    int block_tokens;
    int rows_max;       // tokens a step
    int positions_max;  // of one sequence
    bool profile;
  };

  // `spec` outlives the runner. CheckSpec (layer_sizes.h) has accepted it.
  ModelRunner(const ModelSpec& spec, const kernels::KernelTable& kernels, const Shape& shape);

  absl::Status LoadWeights(const WeightsSnapshot& weights) override;
  absl::Status Run(StepBatch* batch) override;
  absl::Status Logits(int count, float* logits) override;
  uint64_t experts_read_total() const override { return experts_read_total_; }
  // Seconds that the owner thread spent in each operator; zeros unless Shape::profile.
  std::vector<OperatorTime> operator_times() const override;

 private:
  enum Operator {  // named in operator_times()
    kEmbed,
    kNorm,
    kProjections,
    kRope,
    kAttention,
    kMlp,
    kRouter,
    kExperts,
    kCombine,
    kHead,
    kOperatorCount
  };
  // Adds the time of its life to an operator. Only the owner thread is measured.
  class Timer {
   public:
    Timer(ModelRunner* runner, Operator operation, int thread);
    ~Timer();

   private:
    double* seconds_;  // null when nothing is measured
    double start_ = 0;
  };

  // Activations of a block of rows; one set a thread. Widths are those of LayerSizes.
  struct Scratch {
    kernels::AlignedBuffer<float> normed;  // [kRowBlock, D]
    kernels::AlignedBuffer<float> input;   // [kRowBlock, …], and so on
    kernels::AlignedBuffer<float> query;
    kernels::AlignedBuffer<float> key;
    kernels::AlignedBuffer<float> attention;
    kernels::AlignedBuffer<float> values;
    kernels::AlignedBuffer<float> hidden;  // of an MLP
    kernels::AlignedBuffer<float> logits;  // [kLogitRows, V], of filtered draws; made when needed
    FilteredSampler sampler;
  };
  // Rows [first, first + count) of the batch, count <= kRowBlock.
  struct Rows {
    int first;
    int count;
    int thread;
    bool are_all;  // there are no others: the pool is free for their products
  };

  // Calls body for all rows, at most `block` of them at a time.
  template <class Body>
  void ForRows(int count, int block, const Body& body);
  // The same, kRowBlock at a time, in the runs of row_borders_.
  template <class Body>
  void ForCutRows(const Body& body);
  // The kernels of these names; the columns, or the heads, are shared by the threads when the rows
  // are too few to be. No bit depends on it.
  void Matmul(const Rows& rows, const kernels::MatmulArgs& args);
  void Swiglu(const Rows& rows, const kernels::SwigluArgs& args);
  void GqaDecode(const Rows& rows, const kernels::GqaDecodeArgs& args);
  void MlaDecode(const Rows& rows, const kernels::MlaDecodeArgs& args);

  void CopyBlocks(const std::vector<BlockCopy>& copies);
  void Embed(const PackedModel& model, const StepBatch& batch, const Rows& rows);
  // Input: until the batch's keys are in the KV cache. Output: attention, added to the residual.
  void AttentionInput(int layer, const LayerWeights& weights, const StepBatch& batch,
                      const Rows& rows);
  void AttentionOutput(int layer, const LayerWeights& weights, const StepBatch& batch,
                       const Rows& rows);
  void MlaInput(int layer, const MlaWeights& weights, const StepBatch& batch, const Rows& rows);
  void MlaAbsorbQuery(int layer, const MlaWeights& weights, const StepBatch& batch,
                      const Rows& rows);
  void MlaOutput(int layer, const MlaWeights& weights, const StepBatch& batch, const Rows& rows);
  void GqaInput(int layer, const GqaWeights& weights, const StepBatch& batch, const Rows& rows);
  void GqaNormHeads(const GqaSpec& spec, const GqaWeights& weights, const Rows& rows);
  void GqaOutput(int layer, const GqaWeights& weights, const StepBatch& batch, const Rows& rows);
  void MlpOrRouter(int layer, const LayerWeights& weights, const Rows& rows);
  void Mlp(const MlpWeights& weights, const float* x, const Rows& rows);
  void RoutedExperts(int layer, const MoeWeights& weights, int row_count);
  // Cuts the rows into a run a thread whose AttentionOutput takes about as long: row_borders_.
  void CutRows(int layer, const StepBatch& batch);
  void Combine(int layer, const Rows& rows);
  void DrawFused(const PackedModel& model, FusedDraws* draws);
  // DrawFused for a large vocabulary: read once, by all threads together.
  void DrawShared(const PackedModel& model, FusedDraws* draws);
  void DrawFiltered(const PackedModel& model, std::vector<FilteredDraw>* draws);
  // RMSNorm over D of `count` rows of x, or of those that `index` names.
  void Norm(const float* x, const int32_t* index, const std::vector<float>& weight, int count,
            float* y);

  kernels::PagedCache Cache(int layer);
  // The place of a token of the batch in a layer's cache.
  float* CacheRow(const kernels::PagedCache& cache, const StepBatch& batch, int row) const;
  const float* RopeTable(int layer) const {
    return rope_tables_[rope_table_of_layer_[layer]].data();
  }
  float* Residual(const Rows& rows) {
    return residual_.data() + int64_t{rows.first} * spec_.hidden;
  }

  const ModelSpec& spec_;
  const kernels::KernelTable& kernels_;
  Shape shape_;
  PackedModel model_;
  kernels::ThreadPool pool_;
  std::vector<Scratch> scratch_;         // [threads]
  std::vector<int64_t> cache_offsets_;   // of each layer, in floats
  kernels::AlignedBuffer<float> cache_;  // [layer][block]
  std::vector<std::vector<float>> rope_tables_;
  std::vector<int> rope_table_of_layer_;
  // Of the whole batch, [rows_max, …].
  kernels::AlignedBuffer<float> residual_;       // D
  kernels::AlignedBuffer<float> queries_;        // as attention reads them
  kernels::AlignedBuffer<float> moe_input_;      // D
  kernels::AlignedBuffer<float> moe_weights_;    // A
  kernels::AlignedBuffer<int32_t> moe_experts_;  // A
  kernels::AlignedBuffer<float> moe_results_;    // A * D
  kernels::ExpertLists expert_lists_;
  std::vector<int> expert_borders_;  // in places of the list, [threads + 1]
  std::vector<int> row_borders_;     // [threads + 1]
  uint64_t experts_read_total_ = 0;
  std::vector<kernels::VocabChunk> vocab_chunks_;
  double operator_seconds_[kOperatorCount] = {};
};

}  // namespace r1::rollout
