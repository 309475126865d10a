// What the engine computes with: the weights, the KV cache and the forward pass of one step, on
// some device. One implementation a device (EngineOptions::device): ModelRunner on the CPU,
// cuda/CudaRunner on an NVIDIA GPU. Runners know nothing of requests.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/models/model_spec.h"
#include "common/status.h"
#include "common/weights.h"
#include "rollout/engine/block_manager.h"
#include "rollout/engine/engine.h"
#include "rollout/engine/sampler.h"

namespace r1::rollout {

// One step's work: a ragged batch of tokens, prompts and single continuing tokens alike, and the
// draws at its end. Vectors of one element a token, plus copies and draws; reused from step to
// step. The tokens of a sequence are neighbours, in order, and share its table.
struct StepBatch {
  std::vector<BlockCopy> copies;
  std::vector<int32_t> token_ids;
  std::vector<int32_t> positions;
  std::vector<int32_t> contexts;  // tokens to attend: position + 1
  // Of these, the first ones that fill whole blocks of the request's prompt, which its samples
  // share.
  std::vector<int32_t> prefixes;
  std::vector<int32_t> prompts;              // tokens of the request's prompt
  std::vector<const int32_t*> block_tables;  // of each token's sequence
  Draws draws;

  void Clear();
  int rows() const { return static_cast<int>(token_ids.size()); }
  // Whether a row is of a prompt, not of a response.
  bool is_prompt(int row) const { return positions[row] < prompts[row]; }
};

// One owner thread calls everything.
class Runner {
 public:
  virtual ~Runner() = default;

  // InvalidArgument when the snapshot does not fit the spec; the old weights stay.
  [[nodiscard]] virtual absl::Status LoadWeights(const WeightsSnapshot& weights) = 0;
  // Fills the results of the draws, filtered ones only where RunnerKind::has_logits. An error means
  // that the device failed.
  [[nodiscard]] virtual absl::Status Run(StepBatch* batch) = 0;
  // Logits [count, V] of the rows [0, count) of the last Run; InvalidArgument unless
  // RunnerKind::has_logits.
  [[nodiscard]] virtual absl::Status Logits(int count, float* logits) = 0;
  // Experts whose weights the steps have read, over all layers; 0 where nobody counts.
  virtual uint64_t experts_read_total() const { return 0; }
  // Empty numbers unless EngineOptions::profile.
  virtual std::vector<OperatorTime> operator_times() const = 0;
};

struct RunnerShape {
  int block_count;
  int block_tokens;
  int rows_max;       // tokens a step
  int draws_max;      // a step
  int positions_max;  // of one sequence
};

// What the engine must know of a device before there is a runner.
struct RunnerKind {
  int default_block_tokens;
  bool has_logits;
  // FailedPrecondition: there is no such device, or it cannot compute.
  absl::Status (*find_device)(int index);
  // InvalidArgument: sizes that the kernels do not support, or options that the device cannot have.
  absl::Status (*check)(const ModelSpec& spec, const EngineOptions& options);
  // Of the KV cache, all layers together.
  int64_t (*cache_bytes_per_token)(const ModelSpec& spec);
  // `spec` outlives the runner; `check` has accepted it.
  absl::StatusOr<std::unique_ptr<Runner>> (*make)(const ModelSpec& spec,
                                                  const EngineOptions& options,
                                                  const RunnerShape& shape);
};

const RunnerKind& CpuRunnerKind();
// Null in a build without CUDA.
const RunnerKind* CudaRunnerKindOrNull();

}  // namespace r1::rollout
