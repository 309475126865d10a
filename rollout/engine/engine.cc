#include "rollout/engine/engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/device_name.h"
#include "rollout/engine/runner.h"
#include "rollout/engine/sampler.h"
#include "rollout/engine/scheduler.h"

namespace r1::rollout {
namespace {

constexpr double kTemperatureMin = 1e-3;

absl::Status CheckRange(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("engine option ", name, ": expected ", low, " to ", high, ", found ", value));
}

absl::Status CheckOptions(const EngineOptions& options) {
  constexpr int kMany = 1 << 20;
  if (options.weights != "fp32" && options.weights != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("engine option weights: expected fp32 or bf16, found ", options.weights));
  }
  if (options.expert_weights != "bf16" && options.expert_weights != "fp8") {
    return absl::InvalidArgumentError(absl::StrCat(
        "engine option expert_weights: expected bf16 or fp8, found ", options.expert_weights));
  }
  R1_RETURN_IF_ERROR(CheckRange("threads", options.threads, 1, 1024));
  R1_RETURN_IF_ERROR(CheckRange("running_samples_max", options.running_samples_max, 1, kMany));
  R1_RETURN_IF_ERROR(CheckRange("kv_cache_mib", options.kv_cache_mib, 1, kMany));
  R1_RETURN_IF_ERROR(CheckRange("prefill_tokens_max", options.prefill_tokens_max, 1, kMany));
  return CheckRange("block_tokens", options.block_tokens, 0, 4096);
}

// "auto" is the first GPU where this build and machine have one.
absl::StatusOr<DeviceName> FindDevice(const std::string& text) {
  absl::StatusOr<DeviceName> name = ParseDeviceName(text);
  if (!name.ok()) return Annotate(name.status(), "engine option device");
  if (name->kind != DeviceName::Kind::kAuto) return name;
  const RunnerKind* const kind = CudaRunnerKindOrNull();
  name->kind = kind != nullptr && kind->find_device(name->index).ok() ? DeviceName::Kind::kCuda
                                                                      : DeviceName::Kind::kCpu;
  return name;
}

// What computes a model, and the options with all that they left open.
struct Choice {
  DeviceName device;
  const RunnerKind* kind = nullptr;
  EngineOptions options;
};
absl::StatusOr<Choice> Choose(const ModelSpec& spec, const EngineOptions& asked) {
  R1_RETURN_IF_ERROR(CheckOptions(asked));
  Choice choice{.device = {}, .options = asked};
  R1_ASSIGN_OR_RETURN(choice.device, FindDevice(asked.device));
  const bool on_cpu = choice.device.kind == DeviceName::Kind::kCpu;
  choice.kind = on_cpu ? &CpuRunnerKind() : CudaRunnerKindOrNull();
  if (choice.kind == nullptr) {
    return absl::FailedPreconditionError(
        "engine option device: cuda needs a build with a CUDA toolkit, and this one has none");
  }
  choice.options.device = on_cpu ? "cpu" : absl::StrCat("cuda:", choice.device.index);
  if (asked.block_tokens == 0) choice.options.block_tokens = choice.kind->default_block_tokens;
  R1_RETURN_IF_ERROR(Annotate(choice.kind->check(spec, choice.options), "engine"));
  return choice;
}

absl::Status CheckFilter(const TokenFilter& filter) {
  const auto refuse = [](absl::string_view name, absl::string_view expected, double found) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": expected ", expected, ", found ", found));
  };
  if (!(std::isfinite(filter.repetition_penalty) && filter.repetition_penalty > 0)) {
    return refuse("repetition_penalty", "a number above 0", filter.repetition_penalty);
  }
  if (filter.top_k < 0) return refuse("top_k", "at least 1, or 0 for all", filter.top_k);
  if (!(filter.top_p > 0 && filter.top_p <= 1)) {
    return refuse("top_p", "above 0 and up to 1", filter.top_p);
  }
  if (!(filter.min_p >= 0 && filter.min_p <= 1)) return refuse("min_p", "0 to 1", filter.min_p);
  return absl::OkStatus();
}

// Blocks that fit into the cache, but no more than all running samples could ever use.
int BlockCount(const ModelSpec& spec, const EngineOptions& options, int64_t token_bytes) {
  const int64_t block_bytes = token_bytes * options.block_tokens;
  const int64_t fitting = (int64_t{options.kv_cache_mib} << 20) / block_bytes;
  const int64_t longest =
      (int64_t{spec.positions_max} + options.block_tokens - 1) / options.block_tokens;
  const int64_t useful = longest * options.running_samples_max;
  return static_cast<int>(
      std::min<int64_t>({fitting, useful, std::numeric_limits<int32_t>::max()}));
}

class EngineImpl : public Engine {
 public:
  EngineImpl(const ModelSpec& spec, const EngineOptions& options, int block_count)
      : spec_(spec),
        options_(options),
        blocks_(block_count, options.block_tokens),
        scheduler_({.running_samples_max = options.running_samples_max,
                    .prefill_tokens_max = options.prefill_tokens_max},
                   &blocks_) {}

  absl::Status MakeRunner(const RunnerKind& kind) {
    has_logits_ = kind.has_logits;
    R1_ASSIGN_OR_RETURN(
        runner_, kind.make(spec_, options_,
                           {.block_count = blocks_.block_count(),
                            .block_tokens = options_.block_tokens,
                            .rows_max = options_.running_samples_max + options_.prefill_tokens_max,
                            .draws_max = options_.running_samples_max,
                            .positions_max = TokensMax()}));
    return absl::OkStatus();
  }

  absl::Status LoadWeights(const WeightsSnapshot& weights) override {
    if (!idle()) {
      return absl::FailedPreconditionError(absl::StrCat("weights of policy version ",
                                                        weights.policy_version,
                                                        " arrived while requests are unfinished"));
    }
    R1_RETURN_IF_ERROR(runner_->LoadWeights(weights));
    stats_.policy_version = weights.policy_version;
    loaded_ = true;
    return absl::OkStatus();
  }

  absl::Status Submit(GroupRequest request) override {
    if (!loaded_)
      return absl::FailedPreconditionError("a request arrived before the first weights");
    R1_RETURN_IF_ERROR(
        Annotate(CheckRequest(request), absl::StrCat("request ", request.request_id)));
    unfinished_.emplace(request.request_id, request.sample_indices.size());
    const auto shared = std::make_shared<const GroupRequest>(std::move(request));
    std::unique_ptr<Sequence> group;
    for (const uint32_t sample_index : shared->sample_indices) {
      if (group == nullptr) {
        group = std::make_unique<Sequence>();
        group->request = shared;
      }
      group->samples.push_back({.sample_index = sample_index,
                                .rng = Rng(shared->run_seed, shared->stage_index, shared->purpose,
                                           shared->group_id, sample_index)});
      // A group with more samples than may run at a time goes in parts.
      if (static_cast<int>(group->samples.size()) == options_.running_samples_max)
        scheduler_.Add(std::move(group));
    }
    if (group != nullptr) scheduler_.Add(std::move(group));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<GeneratedSample>> Step() override {
    std::vector<GeneratedSample> finished;
    if (idle()) return finished;
    scheduler_.Schedule(&plan_);
    FillBatch();
    R1_RETURN_IF_ERROR(runner_->Run(&batch_));
    R1_RETURN_IF_ERROR(CheckDraws());
    AcceptDraws();
    scheduler_.Settle(&finished);
    for (const GeneratedSample& sample : finished) {
      const auto request = unfinished_.find(sample.request_id);
      if (--request->second == 0) unfinished_.erase(request);
    }
    return finished;
  }

  absl::StatusOr<std::vector<float>> Logits(const std::vector<int32_t>& ids,
                                            int tokens_a_step) override;

  void Cancel(uint64_t request_id) override {
    scheduler_.Cancel(request_id);
    unfinished_.erase(request_id);
  }

  bool idle() const override { return scheduler_.idle(); }

  EngineStats stats() const override {
    EngineStats stats = stats_;
    stats.preemptions_total = scheduler_.preemptions_total();
    stats.experts_read_total = runner_->experts_read_total();
    stats.running_samples = scheduler_.running_samples();
    stats.waiting_groups = scheduler_.waiting_sequences();
    stats.kv_used_frac = 1 - static_cast<double>(blocks_.free_blocks()) / blocks_.block_count();
    return stats;
  }

  std::vector<OperatorTime> operator_times() const override { return runner_->operator_times(); }

 private:
  // The longest sequence, prompt and response, that can ever be computed.
  int TokensMax() const {
    const int64_t cache_tokens = int64_t{blocks_.block_count()} * options_.block_tokens;
    return static_cast<int>(std::min<int64_t>(spec_.positions_max, cache_tokens));
  }

  absl::Status CheckRequest(const GroupRequest& request) const;
  absl::Status CheckIds(absl::string_view what, const std::vector<int32_t>& ids) const;
  void FillBatch();
  absl::Status CheckDraws() const;
  void AcceptDraws();

  const ModelSpec spec_;
  const EngineOptions options_;
  BlockManager blocks_;
  Scheduler scheduler_;
  std::unique_ptr<Runner> runner_;
  bool has_logits_ = false;
  bool loaded_ = false;
  StepPlan plan_;                                    // of the current step; kept for its memory
  StepBatch batch_;                                  // likewise
  std::unordered_map<uint64_t, size_t> unfinished_;  // request -> samples to come
  EngineStats stats_;
};

absl::Status EngineImpl::CheckIds(absl::string_view what, const std::vector<int32_t>& ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= spec_.vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, "[", i, "]: expected 0 to ", spec_.vocab - 1, ", found ", ids[i]));
    }
  }
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckRequest(const GroupRequest& request) const {
  if (unfinished_.contains(request.request_id)) {
    return absl::InvalidArgumentError("another request with this id is unfinished");
  }
  if (request.prompt_ids.empty()) return absl::InvalidArgumentError("the prompt is empty");
  if (request.sample_indices.empty()) return absl::InvalidArgumentError("no samples are asked for");
  const std::set<uint32_t> distinct(request.sample_indices.begin(), request.sample_indices.end());
  if (distinct.size() != request.sample_indices.size()) {
    return absl::InvalidArgumentError("a sample index occurs twice");
  }
  if (request.response_tokens_max < 1) {
    return absl::InvalidArgumentError("response_tokens_max: expected at least 1, found 0");
  }
  if (request.temperature != 0 &&
      !(std::isfinite(request.temperature) && request.temperature >= kTemperatureMin)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "temperature: expected 0 or at least ", kTemperatureMin, ", found ", request.temperature));
  }
  R1_RETURN_IF_ERROR(CheckFilter(request.filter));
  if (!has_logits_ && NeedsLogits(request)) {
    return absl::InvalidArgumentError(
        absl::StrCat("device ", options_.device,
                     " draws tokens without whole logits: a filter or raw_logprobs "
                     "need device cpu"));
  }
  R1_RETURN_IF_ERROR(CheckIds("prompt_ids", request.prompt_ids));
  R1_RETURN_IF_ERROR(CheckIds("stop_ids", request.stop_ids));
  // The last token of a response is never computed, only drawn.
  const uint64_t tokens = uint64_t{request.prompt_ids.size()} + request.response_tokens_max - 1;
  if (tokens > static_cast<uint64_t>(TokensMax())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a prompt of ", request.prompt_ids.size(), " tokens and a response of up to ",
        request.response_tokens_max, " do not fit: a sequence has at most ", TokensMax() + 1,
        " tokens (the smaller of the model's positions, ", spec_.positions_max,
        ", and the KV cache, ", int64_t{blocks_.block_count()} * options_.block_tokens,
        "); shorten them or raise kv_cache_mib"));
  }
  return absl::OkStatus();
}

void EngineImpl::FillBatch() {
  batch_.Clear();
  std::swap(batch_.copies, plan_.copies);
  for (const ScheduledTokens& tokens : plan_.tokens) {
    const int prompt = static_cast<int>(tokens.sequence->request->prompt_ids.size());
    const int prefix = prompt / options_.block_tokens * options_.block_tokens;
    for (int position = tokens.first; position < tokens.first + tokens.count; ++position) {
      batch_.token_ids.push_back(tokens.sequence->TokenAt(position));
      batch_.positions.push_back(position);
      batch_.contexts.push_back(position + 1);
      batch_.prefixes.push_back(prefix);
      batch_.prompts.push_back(prompt);
      batch_.block_tables.push_back(tokens.sequence->blocks.data());
    }
    if (tokens.draws()) AddDraws(*tokens.sequence, batch_.rows() - 1, &batch_.draws);
  }
}

absl::Status EngineImpl::CheckDraws() const {
  DrawReader draws(batch_.draws);
  for (const ScheduledTokens& tokens : plan_.tokens) {
    if (!tokens.draws()) continue;
    for (const Sample& sample : tokens.sequence->samples) {
      if (std::isfinite(draws.Next(*tokens.sequence->request).logprob)) continue;
      return absl::DataLossError(absl::StrCat(
          "policy version ", stats_.policy_version, " gives logits that are not finite: request ",
          tokens.sequence->request->request_id, ", sample ", sample.sample_index,
          ", response token ", sample.token_ids.size(),
          "; load sound weights or cancel the request"));
    }
  }
  return absl::OkStatus();
}

void EngineImpl::AcceptDraws() {
  DrawReader reader(batch_.draws);
  for (const ScheduledTokens& tokens : plan_.tokens) {
    Sequence& sequence = *tokens.sequence;
    const bool draws = tokens.draws();
    sequence.computed += tokens.count;
    if (tokens.count > 1 || !draws || sequence.samples.front().token_ids.empty()) {
      stats_.prefill_tokens_total += tokens.count;
    }
    if (!draws) continue;
    for (Sample& sample : sequence.samples) {
      AcceptToken(*sequence.request, reader.Next(*sequence.request), &sample);
      ++stats_.generated_tokens_total;
    }
  }
}

absl::StatusOr<std::vector<float>> EngineImpl::Logits(const std::vector<int32_t>& ids,
                                                      int tokens_a_step) {
  if (!loaded_ || !idle()) {
    return absl::FailedPreconditionError(
        "logits were asked for without weights or while requests "
        "are unfinished");
  }
  const int tokens = static_cast<int>(std::min<size_t>(ids.size(), 1 << 30));
  if (tokens < 1 || tokens > TokensMax()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected 1 to ", TokensMax(), " ids, found ", ids.size()));
  }
  const int step_max = options_.running_samples_max + options_.prefill_tokens_max;
  if (tokens_a_step < 1 || tokens_a_step > step_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokens_a_step: expected 1 to ", step_max, ", found ", tokens_a_step));
  }
  R1_RETURN_IF_ERROR(CheckIds("ids", ids));
  BlockTable blocks = blocks_.Allocate(tokens);
  std::vector<float> logits(static_cast<size_t>(tokens) * static_cast<size_t>(spec_.vocab));
  for (int first = 0; first < tokens; first += tokens_a_step) {
    const int count = std::min(tokens_a_step, tokens - first);
    batch_.Clear();
    for (int position = first; position < first + count; ++position) {
      batch_.token_ids.push_back(ids[position]);
      batch_.positions.push_back(position);
      batch_.contexts.push_back(position + 1);
      batch_.prefixes.push_back(0);
      batch_.prompts.push_back(tokens);
      batch_.block_tables.push_back(blocks.data());
    }
    absl::Status status = runner_->Run(&batch_);
    if (status.ok()) {
      status = runner_->Logits(count, &logits[static_cast<size_t>(first) * spec_.vocab]);
    }
    if (!status.ok()) {
      blocks_.Free(&blocks);
      return status;
    }
  }
  blocks_.Free(&blocks);
  return logits;
}

}  // namespace

absl::Status CheckEngine(const ModelSpec& spec, const EngineOptions& asked) {
  R1_ASSIGN_OR_RETURN(const Choice choice, Choose(spec, asked));
  return choice.kind->find_device(choice.device.index);
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const ModelSpec& spec,
                                                       const EngineOptions& asked) {
  R1_ASSIGN_OR_RETURN(const Choice choice, Choose(spec, asked));
  const EngineOptions& options = choice.options;
  const int64_t token_bytes = choice.kind->cache_bytes_per_token(spec);
  const int block_count = BlockCount(spec, options, token_bytes);
  if (block_count < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine option kv_cache_mib: ", options.kv_cache_mib, " MiB hold no block of ",
                     options.block_tokens, " tokens of ", token_bytes, " bytes each"));
  }
  auto engine = std::make_unique<EngineImpl>(spec, options, block_count);
  R1_RETURN_IF_ERROR(engine->MakeRunner(*choice.kind));
  return engine;
}

}  // namespace r1::rollout
