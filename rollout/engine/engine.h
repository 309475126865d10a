// The generation engine: prompts in, sampled tokens with their logprobs out, continuously batched
// over a paged KV cache. The G samples of a group share their prompt's blocks (one prefill, G
// forks, copy on write). Results of a sample do not depend on its neighbours, the batch size,
// chunking, admission order or the number of threads (but see EngineOptions::batch_invariant).
//
// One owner thread calls everything; the engine has worker threads of its own inside Step().
//
//   auto engine = Engine::Create(spec, options);
//   engine->LoadWeights(snapshot);                      // only while idle
//   engine->Submit(request);
//   while (!engine->idle()) for (auto& sample : *engine->Step()) …
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "common/rng.h"
#include "common/status.h"
#include "common/weights.h"

namespace r1::rollout {

struct EngineOptions {
  std::string device = "cpu";  // or "cuda": the first GPU, in bf16
  int threads = 1;             // of the CPU's kernels
  // Samples generated at a time. More rows a step do not speed up the matrix products of a small
  // model beyond some 64, but push its KV cache out of the processor's caches.
  int running_samples_max = 96;
  int kv_cache_mib = 512;
  int block_tokens = 0;           // tokens a KV block; 0 = the device's own: 16, or 64 on a GPU
  int prefill_tokens_max = 2048;  // prompt tokens computed in one step, at most
  std::string isa = "auto";       // of the CPU's kernels, or a kernels::IsaName
  // A sample's bits depend on nothing but itself. Always so on the CPU; on a GPU, false lets the
  // attention's splits follow the batch, which is faster for few samples.
  bool batch_invariant = true;
  bool profile = false;  // measure operator_times()
};

struct GroupRequest {
  uint64_t request_id = 0;  // the caller's; unique among unfinished requests
  std::vector<int32_t> prompt_ids;
  std::vector<uint32_t> sample_indices;  // the samples to draw
  double temperature = 1;                // 0 = greedy, or at least 0.001
  uint32_t response_tokens_max = 0;
  std::vector<int32_t> stop_ids;
  // Stream of each sample: Rng(run_seed, stage_index, purpose, group_id, sample_index), position =
  // response token.
  uint64_t run_seed = 0;
  uint32_t stage_index = 0;
  RngPurpose purpose = RngPurpose::kTrainSample;
  uint64_t group_id = 0;
};

struct GeneratedSample {
  uint64_t request_id = 0;
  uint32_t sample_index = 0;
  std::vector<int32_t> token_ids;  // stop token included
  // Under the distribution each token was sampled from; greedy tokens: at temperature 1.
  std::vector<float> logprobs;
  bool stopped = false;  // by a stop id; false: response_tokens_max
};

struct EngineStats {
  uint64_t policy_version = 0;
  uint64_t generated_tokens_total = 0;
  uint64_t prefill_tokens_total = 0;
  uint64_t preemptions_total = 0;
  int running_samples = 0;
  int waiting_groups = 0;
  double kv_used_frac = 0;
};

// Time that the owner thread spent in an operator of the forward pass, since the engine was made.
struct OperatorTime {
  std::string name;
  double seconds;
};

class Engine {
 public:
  // InvalidArgument: an option out of range, an isa that this machine lacks, a KV cache that holds
  // no block, or sizes that the kernels do not support.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Engine>> Create(const ModelSpec& spec,
                                                                      const EngineOptions& options);
  virtual ~Engine() = default;

  // FailedPrecondition unless idle; InvalidArgument when they do not fit the spec. Keeps nothing of
  // the snapshot but what it packs.
  [[nodiscard]] virtual absl::Status LoadWeights(const WeightsSnapshot& weights) = 0;
  // InvalidArgument: empty prompt, ids out of range, a field out of its range, or a prompt with its
  // longest response that the KV cache could not hold even alone. FailedPrecondition before the
  // first weights. Queued when there is no room; a group whose samples do not fit together is
  // computed a few samples at a time.
  [[nodiscard]] virtual absl::Status Submit(GroupRequest request) = 0;
  // One batched step: prefill of admitted groups and one token for every running sample. Returns
  // what finished. DataLoss: a logit is not finite; no sample has grown, and the message names the
  // request to cancel.
  [[nodiscard]] virtual absl::StatusOr<std::vector<GeneratedSample>> Step() = 0;
  // Drops a request and its samples; fine when it is unknown.
  virtual void Cancel(uint64_t request_id) = 0;
  virtual bool idle() const = 0;
  virtual EngineStats stats() const = 0;
  // Empty numbers unless EngineOptions::profile; a GPU's "step", the whole of its steps, always.
  virtual std::vector<OperatorTime> operator_times() const = 0;
};

}  // namespace r1::rollout
