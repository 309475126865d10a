// The forward pass on the GPU: enqueues the kernels of a step, from token ids to drawn tokens with
// their logprobs, on a stream. Interprets the ModelSpec; owns the activations; reads nothing on the
// host that changes from step to step, so that what it enqueues can be captured in a graph and
// replayed. The attention blocks are in mla_attention.cc and gqa_attention.cc.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "kernels/cuda/gqa_input_bf16_sm90.h"
#include "kernels/cuda/mla_input_bf16_sm90.h"
#include "kernels/cuda/moe_results.h"
#include "kernels/cuda/residual_norm_bf16_sm90.h"
#include "rollout/engine/cuda/device_memory.h"
#include "rollout/engine/cuda/device_model.h"
#include "rollout/engine/cuda/operator_timer.h"
#include "rollout/engine/cuda/step_inputs.h"
#include "rollout/engine/runner.h"

namespace r1::rollout {

class ForwardPass {
 public:
  // A step as it is enqueued.
  struct Step {
    StepShape shape;
    bool is_decode;       // IsDecodeStep
    int contexts_max;     // no row attends more tokens
    int prefixes_max;     // and no prefix has more; 0 without tiles of prefixes
    PromptRows prompts;   // of Cut; empty in a decode step
    StepInputs inputs;    // on the GPU
    StepResults results;  // likewise
  };

  // `spec`, which CheckCudaSpec has accepted, and `model` outlive the pass; `timer` too, or null.
  // ResourceExhausted when the
  // activations do not fit into the GPU's memory.
  [[nodiscard]] static absl::StatusOr<ForwardPass> Make(const ModelSpec& spec,
                                                        const DeviceModel& model,
                                                        const RunnerShape& shape,
                                                        bool batch_invariant, OperatorTimer* timer);

  // The KV cache is [layers][blocks].
  [[nodiscard]] absl::Status Enqueue(const Step& step, uint8_t* cache, cudaStream_t stream);

  // Rows that share a prefix and are best attended together; 1: each by itself.
  int tile_rows_max() const;

  // How the rows of a batch that are not all of responses are attended.
  PromptRows Cut(const StepBatch& batch) const;

  // Whether a decode step of so many rows does better to attend shared prefixes once, and can.
  bool SharesPrefixes(int rows, int contexts_max) const;

 private:
  // Of the whole batch, [rows_max, …]; draws_normed [draws_max, D].
  struct Activations {
    float* residual;              // D
    __nv_bfloat16* normed;        // D
    __nv_bfloat16* delta;         // D: what the last operator adds to the residual stream, unless
    float* delta_parts;           // [S, rows of the step] D: in parts, of a dense MLP
    __nv_bfloat16* input;         // what the attention's first projection gives
    __nv_bfloat16* query_normed;  // query_rank
    __nv_bfloat16* query;         // all heads', with query compression or in grouped attention
    __nv_bfloat16* absorbed;      // H * (L + R); of prompts that are multiplied out R alone
    __nv_bfloat16* attention;     // H * L
    __nv_bfloat16* values;        // what the attention's last projection takes
    __nv_bfloat16* hidden;        // widest dense MLP
    int32_t* experts;             // A
    float* expert_weights;        // A
    __nv_bfloat16* draws_normed;  // D
    // Of prompts' contexts: [at least PromptContextMax() and the longest, L + R], and keys and
    // values multiplied out, of as many heads at a time as there is room for.
    __nv_bfloat16* context;
    __nv_bfloat16* keys_values;
    uint8_t* attention_workspace;
    uint32_t* attention_counters;  // N
    uint8_t* head_workspace;
    std::vector<uint8_t*> expert_workspaces;  // of expert_shapes_
  };
  struct ExpertShape {
    int experts, active, shared, intermediate;
    bool operator==(const ExpertShape&) const = default;
  };

  ForwardPass(const ModelSpec& spec, const DeviceModel& model, const RunnerShape& shape,
              bool batch_invariant, OperatorTimer* timer);
  // Sets all pointers; the bytes taken.
  int64_t Place(uint8_t* base);

  // Rows that are attended each by itself, where prompts are not.
  std::vector<PromptRows::Range> SingleRows(const Step& step) const;
  // Elements of keys_values, and the tokens of context that they are enough for; 0 where nothing is
  // multiplied out.
  int64_t PromptKeysValues() const;
  int PromptContextMax() const;
  int64_t MlaWorkspaceBytes(const MlaSpec& a) const;
  int64_t GqaWorkspaceBytes(const GqaSpec& a) const;
  int MlaSplitTokens(int rows, int heads, int contexts_max) const;
  int GqaSplitTokens(int rows, int kv_heads, int contexts_max) const;
  // What every call of that kernel says, on the rows from first_row on.
  kernels::GqaDecodeBf16Args GqaDecodeArgs(const Step& step, const GqaSpec& a, const uint8_t* cache,
                                           int first_row) const;

  // Parts of a dense MLP's last product.
  int DeltaParts(const LayerSpec& layer) const;
  // Takes the delta of the last operator into the residual stream.
  void AddDelta(const Step& step, kernels::ResidualNormBf16Args* args) const;

  absl::Status Norm(const Step& step, const float* weight, bool begins, cudaStream_t stream);
  absl::Status GqaAttention(const Step& step, int layer, uint8_t* cache, cudaStream_t stream);
  absl::Status GqaAttend(const Step& step, const GqaSpec& a, const uint8_t* cache,
                         cudaStream_t stream);
  // Prefixes that several rows share first, then the rest of every row.
  absl::Status GqaAttendPrefixes(const Step& step, const GqaSpec& a, const uint8_t* cache,
                                 cudaStream_t stream);
  // With `input`, the kernel begins with what was projected.
  absl::Status GqaAttendRows(const Step& step, const GqaSpec& a, const uint8_t* cache,
                             const PromptRows::Range& range, const kernels::GqaInputBf16Args* input,
                             cudaStream_t stream);
  static bool DecodeTakesInput(const Step& step, const GqaSpec& a);
  absl::Status MlaAttention(const Step& step, int layer, uint8_t* cache, cudaStream_t stream);
  absl::Status MlaQueryAndCache(const Step& step, int layer, uint8_t* cache, cudaStream_t stream);
  // What every call of that kernel says; nothing to write yet.
  kernels::MlaInputBf16Args MlaInputArgs(const Step& step, int layer) const;
  // Writes the latent, as `write` says, and the compressed query, normalised, then multiplies it
  // out.
  absl::Status UncompressQuery(const Step& step, int layer, kernels::MlaInputBf16Args write,
                               cudaStream_t stream);
  absl::Status MlaAttend(const Step& step, const MlaSpec& a, const PromptRows::Range& range,
                         const uint8_t* cache, cudaStream_t stream);
  absl::Status MlaAttendPrompts(const Step& step, int layer, const uint8_t* cache,
                                cudaStream_t stream);
  // The keys and values of some heads, for the context rows of a pass, and its rows' attention.
  struct Heads {
    int first;
    int count;
  };
  absl::Status MlaAttendHeads(const Step& step, int layer, const PromptRows::Pass& pass,
                              const Heads& heads, cudaStream_t stream);
  // Rows that are attended in absorbed form.
  std::vector<PromptRows::Range> MlaAbsorbedRows(const Step& step, const MlaSpec& a) const;
  // Every head's query, nope | rope, and the elements from row to row.
  std::pair<const __nv_bfloat16*, int> MlaQuery(const MlaSpec& a) const;
  absl::Status DenseMlp(const Step& step, int layer, cudaStream_t stream);
  absl::Status Experts(const Step& step, int layer, cudaStream_t stream);
  absl::Status Draw(const Step& step, cudaStream_t stream);
  void Mark(OperatorTimer::Operator operation, cudaStream_t stream) {
    if (timer_ != nullptr) timer_->Mark(operation, stream);
  }

  const ModelSpec* spec_;
  const DeviceModel* model_;
  RunnerShape shape_;
  bool batch_invariant_;
  OperatorTimer* timer_;
  std::vector<ExpertShape> expert_shapes_;
  std::vector<int> expert_shape_of_layer_;
  DeviceMemory memory_;
  Activations a_ = {};
  // Of the operator enqueued last: experts' results, or parts, or, if neither, a_.delta.
  kernels::MoeResults delta_experts_;
  int delta_parts_ = 1;
  DeviceMemory rope_memory_;
  std::vector<const float*> rope_table_of_layer_;
};

}  // namespace r1::rollout
