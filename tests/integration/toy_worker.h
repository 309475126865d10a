// A worker's parts in miniature, for tests of everything around the engine: a deterministic engine
// whose tokens depend on the weights and on the sample's random stream, a tokenizer of letters, a
// reward, a stage and weights for them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/rng.h"
#include "common/schedule.h"
#include "common/weights.h"
#include "proto/rollout.pb.h"
#include "rollout/learner_client.h"
#include "rollout/worker.h"

namespace r1::rollout {

inline constexpr int32_t kToyVocab = 28;  // 0 = end, then a to z, and one more
inline constexpr int32_t kToyEnd = 0;

// Weights of a version: their first element decides what the toy engine says.
inline std::shared_ptr<const WeightsSnapshot> ToyWeights(uint64_t policy_version,
                                                         int64_t elements = 16) {
  auto storage = std::make_shared<std::vector<float>>(elements);
  for (int64_t i = 0; i < elements; ++i) {
    (*storage)[i] = static_cast<float>(policy_version) + static_cast<float>(i % 1000) * 0.25f;
  }
  auto weights = std::make_shared<WeightsSnapshot>();
  weights->policy_version = policy_version;
  const char* bytes = reinterpret_cast<const char*>(storage->data());
  const int64_t half = elements / 2;
  weights->tensors = {{.name = "first",
                       .dtype = DType::kF32,
                       .shape = {half},
                       .bytes = absl::string_view(bytes, half * sizeof(float))},
                      {.name = "second",
                       .dtype = DType::kF32,
                       .shape = {elements - half},
                       .bytes = absl::string_view(bytes + half * sizeof(float),
                                                  (elements - half) * sizeof(float))}};
  weights->storage = std::move(storage);
  return weights;
}

// What the toy engine generates; a pure function, so that tests know the right answer.
inline std::vector<int32_t> ToyTokens(const Rng& stream, uint64_t policy_version,
                                      uint32_t tokens_max) {
  std::vector<int32_t> tokens;
  while (tokens.size() < tokens_max) {
    const uint32_t position = static_cast<uint32_t>(tokens.size());
    const uint64_t bits = MixBits(stream.BlockAt(position)[0] + policy_version);
    tokens.push_back(bits % 8 == 0 ? kToyEnd : 1 + static_cast<int32_t>((bits >> 8) % 26));
    if (tokens.back() == kToyEnd) break;
  }
  return tokens;
}

inline Rng ToyStream(const GroupRequest& request, uint32_t sample) {
  return Rng(request.run_seed, request.stage_index, request.purpose, request.group_id, sample);
}

class ToyEngine : public Engine {
 public:
  explicit ToyEngine(double step_seconds) : step_seconds_(step_seconds) {}

  absl::Status LoadWeights(const WeightsSnapshot& weights) override {
    if (!idle()) return absl::FailedPreconditionError("toy engine is not idle");
    float first = 0;
    std::memcpy(&first, weights.tensors.at(0).bytes.data(), sizeof(first));
    stats_.policy_version = static_cast<uint64_t>(first);
    return absl::OkStatus();
  }
  absl::Status Submit(GroupRequest request) override {
    if (request.prompt_ids.at(0) == kToyPoison) return absl::InternalError("poisoned prompt");
    for (const uint32_t index : request.sample_indices) {
      running_.push_back({request.request_id, index, 0,
                          ToyTokens(ToyStream(request, index), stats_.policy_version,
                                    request.response_tokens_max)});
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<GeneratedSample>> Step() override {
    if (step_seconds_ > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(step_seconds_));
    }
    std::vector<GeneratedSample> finished;
    for (Running& running : running_) {
      ++running.done;
      ++stats_.generated_tokens_total;
      if (running.done < running.tokens.size()) continue;
      GeneratedSample& sample = finished.emplace_back();
      sample.request_id = running.request_id;
      sample.sample_index = running.sample_index;
      sample.token_ids = running.tokens;
      sample.logprobs.assign(running.tokens.size(), -0.5f);
      sample.stopped = running.tokens.back() == kToyEnd;
    }
    std::erase_if(running_, [](const Running& r) { return r.done == r.tokens.size(); });
    return finished;
  }
  absl::StatusOr<std::vector<float>> Logits(const std::vector<int32_t>&, int) override {
    return absl::UnimplementedError("the toy engine has no logits");
  }
  void Cancel(uint64_t request_id) override {
    std::erase_if(running_, [&](const Running& r) { return r.request_id == request_id; });
  }
  bool idle() const override { return running_.empty(); }
  EngineStats stats() const override {
    EngineStats stats = stats_;
    stats.running_samples = static_cast<int>(running_.size());
    return stats;
  }
  std::vector<OperatorTime> operator_times() const override { return {}; }

  static constexpr int32_t kToyPoison = kToyVocab - 1;

 private:
  struct Running {
    uint64_t request_id;
    uint32_t sample_index;
    size_t done;
    std::vector<int32_t> tokens;
  };

  const double step_seconds_;
  std::vector<Running> running_;
  EngineStats stats_;
};

class ToyTokenizer : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, bool) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(1 + (c - 'a'));
    return ids;
  }
  absl::StatusOr<std::vector<int32_t>> EncodeWithContent(
      absl::string_view text, std::span<const TextRange>) const override {
    return Encode(text, true);
  }
  std::string Decode(const std::vector<int32_t>& ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += id == kToyEnd ? '.' : static_cast<char>('a' + id - 1);
    return text;
  }
  std::vector<int32_t> AddSpecialTokens(std::vector<int32_t> ids) const override { return ids; }
  absl::string_view TokenBytes(int32_t) const override { return ""; }
  bool IsSpecial(int32_t) const override { return false; }
  int vocab_size() const override { return kToyVocab; }
  int32_t TokenId(absl::string_view) const override { return -1; }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return kToyEnd; }
  const std::string& json() const override { return json_; }
  std::string config_json() const override { return "{}"; }

 private:
  const std::string json_ = "{}";
};

// The share of vowels; throws on a prompt that asks for it.
class ToyReward : public rewards::Reward {
 public:
  rewards::Score ScoreSample(const rewards::RewardInput& input) const override {
    if (input.columns_json == "throw") throw std::runtime_error("asked to throw");
    const auto vowels = std::count_if(input.response.begin(), input.response.end(), [](char c) {
      return absl::string_view("aeiou").find(c) != absl::string_view::npos;
    });
    const double share = input.response.empty() ? 0
                                                : static_cast<double>(vowels) /
                                                      static_cast<double>(input.response.size());
    return {.value = share, .reason = "vowels", .masked = false};
  }
};

inline v1::StageSpec ToyStage(uint32_t stage_index) {
  v1::StageSpec spec;
  spec.set_stage_index(stage_index);
  spec.set_stage_name("toy");
  spec.set_hf_config_json("{\"vocab_size\": 28}");
  spec.mutable_numerics()->set_isa("reference");
  spec.mutable_numerics()->set_kernel_version(1);
  spec.mutable_engine()->set_running_samples_max(512);
  spec.mutable_engine()->set_reward_threads(1);
  spec.mutable_engine()->set_sequence_tokens_max(1024);
  spec.set_run_seed(7);
  for (const char* name : {"train", "held_out"}) {
    v1::RewardSet& set = *spec.add_reward_sets();
    set.set_name(name);
    v1::RewardConfig& reward = *set.add_rewards();
    reward.set_name("vowels");
    *reward.mutable_weight() = ConstantSchedule(2);
  }
  return spec;
}

inline v1::Lease ToyLease(v1::Purpose purpose, uint64_t group_id, uint64_t policy_version,
                          uint32_t samples, uint32_t stage_index = 0) {
  v1::Lease lease;
  lease.set_stage_index(stage_index);
  lease.set_purpose(purpose);
  lease.set_group_id(group_id);
  lease.set_prompt_id("prompt");
  lease.set_prompt_text("abc");
  for (const int32_t id : {1, 2, 3}) lease.add_prompt_ids(id);
  lease.set_answer("e");
  for (uint32_t i = 0; i < samples; ++i) lease.add_missing_samples(i);
  lease.mutable_sampling()->set_temperature(1);
  lease.mutable_sampling()->set_response_tokens_max(24);
  lease.mutable_sampling()->add_stop_ids(kToyEnd);
  lease.set_policy_version(policy_version);
  lease.set_reward_set(purpose == v1::PURPOSE_EVAL ? "held_out" : "train");
  return lease;
}

// The tokens that a sample of the group must have.
inline std::vector<int32_t> ToyExpected(const v1::Group& group, uint32_t sample) {
  GroupRequest request;
  request.run_seed = 7;
  request.stage_index = group.stage_index();
  request.purpose =
      group.purpose() == v1::PURPOSE_EVAL ? RngPurpose::kEvalSample : RngPurpose::kTrainSample;
  request.group_id = group.group_id();
  return ToyTokens(ToyStream(request, sample), group.policy_version(), 24);
}

inline StageTools ToyTools(const v1::StageSpec& spec, double step_seconds) {
  StageTools tools;
  tools.engine = std::make_unique<ToyEngine>(step_seconds);
  Scorer::RewardSets sets;
  for (const v1::RewardSet& set : spec.reward_sets()) {
    std::vector<Scorer::WeightedReward>& rewards = sets[set.name()];
    for (const v1::RewardConfig& reward : set.rewards()) {
      rewards.push_back({.name = reward.name(),
                         .weight = ScheduleAt(reward.weight(), 0),
                         .rows = reward.rows(),
                         .reward = std::make_unique<ToyReward>()});
    }
  }
  tools.scorer = std::make_shared<const Scorer>(std::make_unique<ToyTokenizer>(), std::move(sets),
                                                spec.run_seed());
  tools.check_weights = [](const WeightsSnapshot& weights) {
    return weights.tensors.size() == 2 ? absl::OkStatus()
                                       : absl::InvalidArgumentError("toy weights");
  };
  tools.weights_bytes_max = 64 << 20;
  return tools;
}

inline WorkerParts ToyParts(double step_seconds = 0) {
  WorkerParts parts;
  parts.runnable_isas = {"reference"};
  parts.kernel_version = 1;
  parts.connect = MakeLearnerClient;
  parts.make_stage = [step_seconds](const v1::StageSpec& spec,
                                    const WorkerOptions&) -> absl::StatusOr<StageTools> {
    return ToyTools(spec, step_seconds);
  };
  return parts;
}

}  // namespace r1::rollout
