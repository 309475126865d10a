// The whole engine on the GPU: logprobs, greedy tokens and routing of small models, with latent and
// with grouped-query attention, against the float64 forward pass, and equal bits under every
// circumstance that must not matter.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "gmock/gmock.h"
#include "tests/gpu/gpu_testing.h"
#include "tests/rollout/engine_testing.h"
#include "tests/rollout/naive_model.h"

namespace r1::rollout {
namespace {

using testing::HasSubstr;

struct Sizes {
  int layers = 3;
  int query_rank = 0;
  bool interleaved = true;
  int groups = 4;
  bool tied = false;
  int key_channels = 64;
  int value_channels = 72;
};
// Of heads whose prompts are attended with keys and values multiplied out.
constexpr Sizes kWideHeads = {.key_channels = 128, .value_channels = 128};

// The smallest sizes that the GPU's kernels take, in every combination of parts.
ModelSpec MakeSpec(const Sizes& sizes) {
  const std::string json = absl::Substitute(
      R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
          "vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 256,
          "num_hidden_layers": $0, "first_k_dense_replace": 1, "intermediate_size": 320,
          "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": $1,
          "kv_lora_rank": 512, "qk_nope_head_dim": $6, "qk_rope_head_dim": 64, "v_head_dim": $7,
          "n_routed_experts": 32, "num_experts_per_tok": 4, "n_shared_experts": 2,
          "moe_intermediate_size": 64, "n_group": $2, "topk_group": $3, "norm_topk_prob": true,
          "rope_interleave": $4, "tie_word_embeddings": $5, "routed_scaling_factor": 2.5,
          "rope_theta": 10000.0, "rope_scaling": null, "max_position_embeddings": 2000,
          "topk_method": "noaux_tc", "scoring_func": "sigmoid", "hidden_act": "silu",
          "attention_bias": false, "rms_norm_eps": 1e-6})",
      sizes.layers, sizes.query_rank > 0 ? absl::StrCat(sizes.query_rank) : "null", sizes.groups,
      std::max(1, sizes.groups / 2), sizes.interleaved ? "true" : "false",
      sizes.tied ? "true" : "false", sizes.key_channels, sizes.value_channels);
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(json);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *std::move(spec);
}

// Likewise with grouped-query attention; keys of `more` replace these.
ModelSpec MakeGroupedSpec(const std::string& family,
                          const nlohmann::json& more = nlohmann::json::object()) {
  nlohmann::json config = {
      {"model_type", family},     {"vocab_size", 400},        {"bos_token_id", 1},
      {"eos_token_id", 2},        {"hidden_size", 256},       {"num_hidden_layers", 3},
      {"intermediate_size", 320}, {"num_attention_heads", 6}, {"num_key_value_heads", 2},
      {"head_dim", 64},           {"hidden_act", "silu"},     {"max_position_embeddings", 2000},
      {"rms_norm_eps", 1e-6},     {"rope_theta", 10000.0},    {"tie_word_embeddings", false}};
  config.update(more);
  absl::StatusOr<ModelSpec> spec = ParseModelSpec(config.dump());
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *std::move(spec);
}

// Biases and tied embeddings; scaled rotations, heads of their own keys; norms of heads; experts.
std::vector<ModelSpec> GroupedSpecs() {
  const nlohmann::json llama3 = {{"rope_type", "llama3"},
                                 {"factor", 8.0},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 64}};
  return {MakeGroupedSpec("qwen2", {{"tie_word_embeddings", true}}),
          MakeGroupedSpec("llama", {{"num_attention_heads", 2},
                                    {"head_dim", 128},
                                    {"rope_scaling", llama3},
                                    {"max_position_embeddings", 512}}),
          MakeGroupedSpec(
              "qwen3", {{"num_attention_heads", 7}, {"num_key_value_heads", 1}, {"head_dim", 128}}),
          MakeGroupedSpec("qwen3_moe", {{"num_experts", 32},
                                        {"num_experts_per_tok", 4},
                                        {"moe_intermediate_size", 64},
                                        {"norm_topk_prob", true},
                                        {"decoder_sparse_step", 1}})};
}

// Random weights that bf16 holds exactly, so that only the computation differs.
WeightsSnapshot Bf16Weights(const ModelSpec& spec, uint64_t seed, uint64_t policy_version = 1) {
  WeightsSnapshot weights = RandomWeights(spec, seed, policy_version);
  auto values = std::make_shared<std::vector<float>>(weights.bytes_total() / sizeof(float));
  float* next = values->data();
  for (TensorView& tensor : weights.tensors) {
    float* const first = next;
    for (const float value : tensor.f32()) {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      bits = (bits + 0x8000u) & 0xFFFF0000u;
      std::memcpy(next++, &bits, sizeof(bits));
    }
    tensor.bytes =
        absl::string_view(reinterpret_cast<const char*>(first), tensor.elements() * sizeof(float));
  }
  weights.storage = values;
  return weights;
}

// The weights of `weights` with those of experts rounded to what FP8 holds exactly: E4M3 numbers
// times 2^-12, and in each 64 × 64 the largest of them, so that this is every block's scale.
WeightsSnapshot Fp8Experts(const ModelSpec& spec, const WeightsSnapshot& weights) {
  constexpr float kScale = 0x1p-12f;
  auto values = std::make_shared<std::vector<float>>();
  values->reserve(weights.bytes_total() / sizeof(float));
  WeightsSnapshot rounded = weights;
  for (size_t i = 0; i < spec.weights.size(); ++i) {
    const WeightSpec& weight = spec.weights[i];
    TensorView& tensor = rounded.tensors[i];
    const size_t begin = values->size();
    for (const float value : tensor.f32()) {
      const int64_t index = static_cast<int64_t>(values->size() - begin);
      if (!weight.is_expert()) {
        values->push_back(value);
      } else if (index / weight.shape[1] % 64 == 0 && index % weight.shape[1] % 64 == 0) {
        values->push_back(std::copysign(448 * kScale, value));
      } else {
        const float limited = std::clamp(value / kScale, -448.f, 448.f);
        // Four bits; below 2^-6 steps of 2^-9.
        const float step = std::ldexp(1.f, std::max(std::ilogb(limited), -6) - 3);
        values->push_back(limited == 0 ? 0 : std::nearbyint(limited / step) * step * kScale);
      }
    }
    tensor.bytes = absl::string_view(reinterpret_cast<const char*>(values->data() + begin),
                                     tensor.elements() * sizeof(float));
  }
  rounded.storage = values;
  return rounded;
}

EngineOptions Gpu() { return {.device = "cuda", .running_samples_max = 64, .kv_cache_mib = 64}; }

// How far the engine's logprobs are from the exact ones.
struct Mismatch {
  int tokens = 0;
  double sum = 0;
  double worst = 0;
  double k3 = 0;  // exp(d) - 1 - d, of d = exact - found
  double mean() const { return sum / tokens; }
};

void Compare(const NaiveModel& naive, const GroupRequest& request, const Results& results,
             Mismatch* mismatch) {
  for (const uint32_t index : request.sample_indices) {
    const GeneratedSample& sample = results.at({request.request_id, index});
    ASSERT_EQ(sample.token_ids.size(), sample.logprobs.size());
    std::vector<int32_t> ids = request.prompt_ids;
    ids.insert(ids.end(), sample.token_ids.begin(), sample.token_ids.end() - 1);
    const auto logprobs = naive.Logprobs(ids, request.temperature == 0 ? 1 : request.temperature);
    for (size_t t = 0; t < sample.token_ids.size(); ++t) {
      const std::vector<double>& exact = logprobs[request.prompt_ids.size() - 1 + t];
      const double difference = exact[sample.token_ids[t]] - sample.logprobs[t];
      ++mismatch->tokens;
      mismatch->sum += std::abs(difference);
      mismatch->worst = std::max(mismatch->worst, std::abs(difference));
      mismatch->k3 += std::exp(difference) - 1 - difference;
      if (request.temperature == 0) {
        EXPECT_GE(exact[sample.token_ids[t]], *std::max_element(exact.begin(), exact.end()) - 0.05);
      }
    }
  }
}

void ExpectClose(const Mismatch& mismatch, const std::string& what) {
  std::printf("%s: %d tokens, |logprob difference| mean %.2e, worst %.2e, k3 %.2e\n", what.c_str(),
              mismatch.tokens, mismatch.mean(), mismatch.worst, mismatch.k3 / mismatch.tokens);
  EXPECT_LE(mismatch.mean(), 0.01) << what;
  EXPECT_LE(mismatch.worst, 0.2) << what;
  EXPECT_LE(mismatch.k3 / mismatch.tokens, 3e-4) << what;
}

// Where two results first differ, for a failure's message; empty when they have the same bits.
std::string Difference(const Results& found, const Results& expected) {
  if (found.size() != expected.size())
    return absl::StrCat(found.size(), " samples instead of ", expected.size());
  std::string text;
  for (const auto& [key, sample] : found) {
    const GeneratedSample& other = expected.at(key);
    if (SameSample(sample, other)) continue;
    size_t i = 0;
    const size_t count = std::min(sample.logprobs.size(), other.logprobs.size());
    while (i < count && sample.token_ids[i] == other.token_ids[i] &&
           sample.logprobs[i] == other.logprobs[i])
      ++i;
    absl::StrAppend(&text, "group ", key.first, " sample ", key.second, " from token ", i);
    if (i < count) absl::StrAppend(&text, " by ", sample.logprobs[i] - other.logprobs[i]);
    absl::StrAppend(&text, "; ");
  }
  return text;
}

class EngineGpuTest : public kernels::GpuTest {};

TEST_F(EngineGpuTest, LogprobsAgreeWithANaiveFloat64Forward) {
  const Sizes variants[] = {{},
                            {.layers = 2, .query_rank = 128, .interleaved = false, .groups = 1},
                            {.layers = 1,
                             .query_rank = 128,
                             .interleaved = false,
                             .groups = 1,
                             .key_channels = 128,
                             .value_channels = 128}};
  for (const Sizes& sizes : variants) {
    const ModelSpec spec = MakeSpec(sizes);
    const WeightsSnapshot weights = Bf16Weights(spec, 5);
    const NaiveModel naive(spec, weights);
    std::vector<GroupRequest> requests;
    for (uint64_t group = 0; group < 3; ++group) {
      const int prompt_tokens[] = {1, 30, 66};
      requests.push_back(RandomRequest(spec, group, prompt_tokens[group], 2, 10));
      requests.back().temperature = group == 1 ? 0 : group == 2 ? 0.7 : 1;
    }
    const Results results = RunAll(*MakeEngine(spec, weights, Gpu()), requests);
    Mismatch mismatch;
    for (const GroupRequest& request : requests) Compare(naive, request, results, &mismatch);
    ExpectClose(mismatch, absl::StrCat("query_rank ", sizes.query_rank, ", values of ",
                                       sizes.value_channels));
  }
}

TEST_F(EngineGpuTest, GroupedAttentionAgreesWithANaiveFloat64Forward) {
  for (const ModelSpec& spec : GroupedSpecs()) {
    const WeightsSnapshot weights = Bf16Weights(spec, 5);
    const NaiveModel naive(spec, weights);
    std::vector<GroupRequest> requests;
    for (uint64_t group = 0; group < 3; ++group) {
      const int prompt_tokens[] = {1, 30, 66};
      requests.push_back(RandomRequest(spec, group, prompt_tokens[group], 2, 10));
      requests.back().temperature = group == 1 ? 0 : group == 2 ? 0.7 : 1;
    }
    const Results results = RunAll(*MakeEngine(spec, weights, Gpu()), requests);
    Mismatch mismatch;
    for (const GroupRequest& request : requests) Compare(naive, request, results, &mismatch);
    ExpectClose(mismatch, spec.family);
  }
}

// Beyond one split of the attention, and several blocks a chunk of the prompt.
void ExpectLongSequencesToAgree(const ModelSpec& spec) {
  const WeightsSnapshot weights = Bf16Weights(spec, 6);
  EngineOptions options = Gpu();
  options.prefill_tokens_max = 300;
  const std::vector<GroupRequest> requests = {RandomRequest(spec, 1, 1015, 1, 20)};
  const Results results = RunAll(*MakeEngine(spec, weights, options), requests);
  Mismatch mismatch;
  Compare(NaiveModel(spec, weights), requests[0], results, &mismatch);
  ExpectClose(mismatch, absl::StrCat("long, ", spec.family));

  // Other splits: as close, until a token differs.
  options.batch_invariant = false;
  const Results fast = RunAll(*MakeEngine(spec, weights, options), requests);
  const GeneratedSample& sample = fast.at({1, 0});
  const GeneratedSample& invariant = results.at({1, 0});
  for (size_t t = 0; t < 20 && sample.token_ids[t] == invariant.token_ids[t]; ++t)
    EXPECT_NEAR(sample.logprobs[t], invariant.logprobs[t], 0.02) << t;
}

TEST_F(EngineGpuTest, LongSequencesAgreeWithANaiveFloat64Forward) {
  ExpectLongSequencesToAgree(MakeSpec({.layers = 1}));
  ExpectLongSequencesToAgree(MakeSpec({.layers = 1, .key_channels = 128, .value_channels = 128}));
  ExpectLongSequencesToAgree(
      MakeGroupedSpec("qwen2", {{"num_hidden_layers", 1}, {"head_dim", 128}}));
}

TEST_F(EngineGpuTest, TiedEmbeddingsAgreeWithANaiveFloat64Forward) {
  const ModelSpec spec = MakeSpec({.layers = 1, .tied = true});
  const WeightsSnapshot weights = Bf16Weights(spec, 7);
  const std::vector<GroupRequest> requests = {RandomRequest(spec, 1, 12, 2, 8)};
  Mismatch mismatch;
  Compare(NaiveModel(spec, weights), requests[0],
          RunAll(*MakeEngine(spec, weights, Gpu()), requests), &mismatch);
  ExpectClose(mismatch, "tied embeddings");
}

// Where FP8 loses nothing, it changes no bit; elsewhere it costs what rounding to four bits costs.
TEST_F(EngineGpuTest, Fp8ExpertsAreTheirBf16Ones) {
  for (const ModelSpec& spec : {MakeSpec(kWideHeads), GroupedSpecs().back()}) {
    const WeightsSnapshot weights = Bf16Weights(spec, 5);
    const WeightsSnapshot exact = Fp8Experts(spec, weights);
    EngineOptions fp8 = Gpu();
    fp8.expert_weights = "fp8";
    std::vector<GroupRequest> requests;
    for (uint64_t group = 0; group < 10; ++group)
      requests.push_back(RandomRequest(spec, group, 1 + static_cast<int>(group) * 23, 4, 30));
    const std::unique_ptr<Engine> engine = MakeEngine(spec, exact, fp8);
    const Results expected = RunAll(*MakeEngine(spec, exact, Gpu()), requests);
    EXPECT_EQ(Difference(RunAll(*engine, requests), expected), "") << spec.family;

    ASSERT_TRUE(engine->LoadWeights(weights).ok());
    const GroupRequest request = RandomRequest(spec, 100, 20, 2, 20);
    Mismatch mismatch;
    Compare(NaiveModel(spec, weights), request, RunAll(*engine, {request}), &mismatch);
    std::printf("%s in FP8: |logprob difference| mean %.2e, k3 %.2e\n", spec.family.c_str(),
                mismatch.mean(), mismatch.k3 / mismatch.tokens);
    EXPECT_LE(mismatch.mean(), 0.05);
  }
}

TEST_F(EngineGpuTest, Fp8IsForExpertsOfTheGpu) {
  EngineOptions options = Gpu();
  options.expert_weights = "fp8";
  EXPECT_THAT(std::string(Engine::Create(MakeGroupedSpec("qwen2"), options).status().message()),
              HasSubstr("the model has none"));
}

// Groups of different lengths; what each sample must be, whatever happens around it.
enum class Attention { kLatent, kLatentWide, kGrouped };

class EngineInvarianceGpuTest : public EngineGpuTest,
                                public testing::WithParamInterface<Attention> {
 protected:
  void SetUp() override {
    EngineGpuTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    spec_ = GetParam() == Attention::kGrouped      ? MakeGroupedSpec("qwen2")
            : GetParam() == Attention::kLatentWide ? MakeSpec(kWideHeads)
                                                   : MakeSpec({});
    weights_ = Bf16Weights(spec_, 3);
    for (uint64_t group = 0; group < 20; ++group) {
      requests_.push_back(
          RandomRequest(spec_, group, 1 + static_cast<int>(group * 37 % 150), 3, 90));
      requests_.back().stop_ids = {2, 3, 4, 5};
      requests_.back().temperature = group % 5 == 4 ? 0 : 1;
    }
    expected_ = RunAll(*MakeEngine(spec_, weights_, Gpu()), requests_);
    ASSERT_EQ(expected_.size(), 60u);
  }

  void ExpectSame(const EngineOptions& options, const std::string& what) {
    const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_, options);
    EXPECT_EQ(Difference(RunAll(*engine, requests_), expected_), "") << what;
    EXPECT_EQ(engine->stats().kv_used_frac, 0) << what;
  }

  ModelSpec spec_;
  WeightsSnapshot weights_;
  std::vector<GroupRequest> requests_;
  Results expected_;
};

INSTANTIATE_TEST_SUITE_P(Attention, EngineInvarianceGpuTest,
                         testing::Values(Attention::kLatent, Attention::kLatentWide,
                                         Attention::kGrouped),
                         [](const auto& info) {
                           return info.param == Attention::kGrouped      ? "grouped"
                                  : info.param == Attention::kLatentWide ? "latent_wide"
                                                                         : "latent";
                         });

TEST_P(EngineInvarianceGpuTest, ConcurrencyChunksAndGraphsDoNotMatter) {
  for (const int running : {1, 3, 7, 40, 500}) {
    EngineOptions options = Gpu();
    options.running_samples_max = running;
    ExpectSame(options, absl::StrCat("running_samples_max ", running));
  }
  for (const int chunk : {5, 64, 130}) {
    EngineOptions options = Gpu();
    options.prefill_tokens_max = chunk;
    ExpectSame(options, absl::StrCat("prefill_tokens_max ", chunk));
  }
  EngineOptions options = Gpu();
  options.profile = true;  // without graphs
  ExpectSame(options, "profile");
}

TEST_P(EngineInvarianceGpuTest, ASampleAloneIsTheSameSample) {
  const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_, Gpu());
  for (const size_t group : {0u, 4u, 13u, 19u}) {
    for (const uint32_t index : requests_[group].sample_indices) {
      GroupRequest alone = requests_[group];
      alone.sample_indices = {index};  // not forked
      const Results results = RunAll(*engine, {alone});
      ASSERT_EQ(results.size(), 1u);
      EXPECT_EQ(Difference(results, {{{group, index}, expected_.at({group, index})}}), "");
    }
  }
}

// Long prompts and enough samples to attend them once for several.
TEST_F(EngineGpuTest, SharedLongPromptsChangeNoBit) {
  const ModelSpec spec = MakeGroupedSpec("qwen2");
  const WeightsSnapshot weights = Bf16Weights(spec, 5);
  std::vector<GroupRequest> requests;
  for (const int prompt : {1030, 1500, 1024})
    requests.push_back(RandomRequest(spec, requests.size(), prompt, 24, 8));
  const std::unique_ptr<Engine> engine = MakeEngine(spec, weights, Gpu());
  const Results together = RunAll(*engine, requests);
  ASSERT_EQ(together.size(), 72u);
  for (const GroupRequest& request : requests) {
    GroupRequest alone = request;
    alone.sample_indices = {request.sample_indices.back()};
    const std::pair<uint64_t, uint32_t> key = {request.request_id, alone.sample_indices[0]};
    EXPECT_EQ(Difference(RunAll(*engine, {alone}), {{key, together.at(key)}}), "");
  }
}

// Contexts that are multiplied out a few heads at a time, several prompts at a time, or in one step
// with responses.
TEST_F(EngineGpuTest, ChunksOfLongPromptsChangeNoBit) {
  ModelSpec spec = MakeSpec(kWideHeads);
  const WeightsSnapshot weights = Bf16Weights(spec, 5);
  std::vector<GroupRequest> requests;
  for (const int prompt : {1500, 129, 1023, 1})
    requests.push_back(RandomRequest(spec, requests.size(), prompt, 3, 20));
  EngineOptions options = Gpu();
  options.prefill_tokens_max = 8000;
  const Results whole = RunAll(*MakeEngine(spec, weights, options), requests);
  ASSERT_EQ(whole.size(), 12u);
  for (const int chunk : {1300, 128, 100}) {
    options.prefill_tokens_max = chunk;
    EXPECT_EQ(Difference(RunAll(*MakeEngine(spec, weights, options), requests), whole), "")
        << "prefill_tokens_max " << chunk;
  }
}

TEST_P(EngineInvarianceGpuTest, PreemptedSamplesAreComputedAgainToTheSameBits) {
  // 3,456 or 1,536 bytes a token: 9 or 10 blocks of 64 tokens, for samples that need up to 4 each.
  EngineOptions options = Gpu();
  options.kv_cache_mib = GetParam() == Attention::kGrouped ? 1 : 2;
  const std::unique_ptr<Engine> small = MakeEngine(spec_, weights_, options);
  EXPECT_EQ(Difference(RunAll(*small, requests_), expected_), "");
  EXPECT_GT(small->stats().preemptions_total, 2u);
  EXPECT_EQ(small->stats().kv_used_frac, 0);
}

TEST_P(EngineInvarianceGpuTest, ReloadedWeightsGiveTheSameBitsAndOtherWeightsOthers) {
  const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_, Gpu());
  EXPECT_TRUE(SameResults(RunAll(*engine, requests_), expected_));
  ASSERT_TRUE(engine->LoadWeights(Bf16Weights(spec_, 4, 9)).ok());
  EXPECT_EQ(engine->stats().policy_version, 9u);
  EXPECT_FALSE(SameResults(RunAll(*engine, requests_), expected_));
  WeightsSnapshot bad = weights_;
  bad.tensors[3].shape[0] += 1;
  EXPECT_EQ(engine->LoadWeights(bad).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine->stats().policy_version, 9u);
  ASSERT_TRUE(engine->LoadWeights(weights_).ok());
  EXPECT_TRUE(SameResults(RunAll(*engine, requests_), expected_));
}

TEST_F(EngineGpuTest, WhatDoesNotFitIntoTheGpuIsSaidSo) {
  const ModelSpec spec = MakeSpec({});
  ModelSpec huge = spec;
  huge.positions_max = 1 << 30;
  EngineOptions options = Gpu();
  options.kv_cache_mib = 1 << 20;
  options.running_samples_max = 1 << 14;
  const absl::Status status = Engine::Create(huge, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("MiB for"));
  EXPECT_TRUE(Engine::Create(spec, Gpu()).ok());  // and the next one is none the worse for it
}

TEST_F(EngineGpuTest, WhatNeedsWholeLogitsIsRefused) {
  const ModelSpec spec = MakeSpec({.layers = 1});
  const std::unique_ptr<Engine> engine = MakeEngine(spec, Bf16Weights(spec, 1), Gpu());
  GroupRequest filtered = RandomRequest(spec, 1, 5, 1, 4);
  filtered.filter.top_k = 3;
  EXPECT_EQ(engine->Submit(filtered).code(), absl::StatusCode::kInvalidArgument);
  GroupRequest raw = RandomRequest(spec, 1, 5, 1, 4);
  raw.raw_logprobs = true;
  EXPECT_THAT(std::string(engine->Submit(raw).message()), HasSubstr("need device cpu"));
  EXPECT_EQ(engine->Logits({1, 2, 3}, 3).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine->stats().kv_used_frac, 0);
  EXPECT_EQ(RunAll(*engine, {RandomRequest(spec, 1, 5, 1, 4)}).size(), 1u);
}

}  // namespace
}  // namespace r1::rollout
