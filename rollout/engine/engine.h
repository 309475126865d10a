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
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/models/model_spec.h"
#include "common/rng.h"
#include "common/status.h"
#include "common/weights.h"

namespace r1::rollout {

struct EngineOptions {
  // Or "cuda:N", a GPU, in bf16; "cuda" is the first one, "auto" the first one where there is one.
  std::string device = "cpu";
  int threads = 1;  // of the CPU's kernels
  // What the CPU's kernels hold the matrices in: fp32, or bf16, which halves the bytes that a step
  // reads. Everything else stays fp32, and so do products, unless `isa` is avx512_bf16 or amx_bf16:
  // those round what is multiplied by bf16 matrices to bf16 as well. A GPU's are always bf16.
  std::string weights = "fp32";
  // What a GPU holds the experts of a mixture in: bf16, or fp8, that is E4M3 numbers with a scale
  // for every 128 by 128 of them (2412.19437 §3.3.2), which halves the bytes that a step reads.
  // Products are bf16 either way: only the weights are rounded.
  std::string expert_weights = "bf16";
  // Samples generated at a time. More rows a step do not speed up the matrix products of a small
  // model beyond some 64, but push its KV cache out of the processor's caches.
  int running_samples_max = 96;
  int kv_cache_mib = 512;
  int block_tokens = 0;           // tokens a KV block; 0 = the device's own: 16, or 64 on a GPU
  int prefill_tokens_max = 2048;  // prompt tokens computed in one step, at most
  // Of the CPU's kernels: a kernels::IsaName, or auto: the machine's best for `weights`.
  std::string isa = "auto";
  // A sample's bits depend on nothing but itself. Always so on the CPU; on a GPU, false lets the
  // attention's splits follow the batch, which is faster for few samples.
  bool batch_invariant = true;
  bool profile = false;  // measure operator_times()
};

// What reshapes the distribution of a sampled token besides the temperature. Applied in the order
// of transformers: repetition penalty, temperature, top-k, top-p, min-p; each of the last three
// works on what the one before has left, with its probabilities renormalised. The defaults change
// nothing.
struct TokenFilter {
  // Logits of tokens that occur in prompt or response are divided by it when positive, multiplied
  // when negative (1909.05858 §4.1); above 0. Holds for greedy samples too, unlike the others.
  double repetition_penalty = 1;
  int top_k = 0;     // the k best and all equal to the last of them; 0 = all
  double top_p = 1;  // the best ones until their probability reaches p (1904.09751); in (0, 1]
  double min_p = 0;  // those with at least this part of the best one's probability; in [0, 1]
  bool operator==(const TokenFilter&) const = default;
};

struct GroupRequest {
  uint64_t request_id = 0;  // the caller's; unique among unfinished requests
  std::vector<int32_t> prompt_ids;
  std::vector<uint32_t> sample_indices;  // the samples to draw
  double temperature = 1;                // 0 = greedy, or at least 0.001
  TokenFilter filter;
  bool raw_logprobs = false;  // fill GeneratedSample::raw_logprobs
  uint32_t response_tokens_max = 0;
  std::vector<int32_t> stop_ids;
  // Called inside Step() for every token in the order of its sample; true ends the sample as a stop
  // id does. For stop strings and for showing text while it grows; must not call the engine.
  std::function<bool(uint32_t sample_index, int32_t token)> stop_when = nullptr;
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
  // At temperature 1, without penalty or filter; empty unless asked for.
  std::vector<float> raw_logprobs;
  bool stopped = false;  // by a stop id or stop_when; false: response_tokens_max
};

struct EngineStats {
  uint64_t policy_version = 0;
  uint64_t generated_tokens_total = 0;
  uint64_t prefill_tokens_total = 0;
  uint64_t preemptions_total = 0;
  uint64_t experts_read_total = 0;  // by all layers and steps; 0 where the device does not count
  int running_samples = 0;
  int waiting_groups = 0;
  double kv_used_frac = 0;
};

// Time that the owner thread spent in an operator of the forward pass, since the engine was made.
struct OperatorTime {
  std::string name;
  double seconds;
};

// What Engine::Create would say of a model and options, before anything is allocated.
// FailedPrecondition: a build without CUDA, or no such GPU.
[[nodiscard]] absl::Status CheckEngine(const ModelSpec& spec, const EngineOptions& options);

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
  // Logits [tokens, V] of what follows each of `ids`, computed `tokens_a_step` at a time: 1 is
  // step-by-step decode, ids.size() one prefill. No bit depends on it. FailedPrecondition unless
  // idle with weights; InvalidArgument: ids out of range or too many, a step out of range.
  [[nodiscard]] virtual absl::StatusOr<std::vector<float>> Logits(const std::vector<int32_t>& ids,
                                                                  int tokens_a_step) = 0;
  // Drops a request and its samples; fine when it is unknown.
  virtual void Cancel(uint64_t request_id) = 0;
  virtual bool idle() const = 0;
  virtual EngineStats stats() const = 0;
  // Empty numbers unless EngineOptions::profile; a GPU's "step", the whole of its steps, always.
  virtual std::vector<OperatorTime> operator_times() const = 0;
};

}  // namespace r1::rollout
