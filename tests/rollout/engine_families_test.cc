// The engine on every family of models: against a float64 forward, and against itself under what
// must not matter. engine_test.cc does the same at length for DeepSeek-V3.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/dtype.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/isa.h"
#include "rollout/engine/engine.h"
#include "tests/rollout/engine_testing.h"
#include "tests/rollout/naive_model.h"

namespace r1::rollout {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSpecs = 8;  // of each family

class ModelFamilyTest : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(All, ModelFamilyTest, testing::ValuesIn(kOtherFamilies),
                         [](const auto& info) { return std::string(info.param); });

// Largest difference of log-softmaxes of the rows of `logits` from the exact ones; relative for
// those beyond -1, of tokens that hardly occur.
double WorstLogprob(const std::vector<float>& logits,
                    const std::vector<std::vector<double>>& exact) {
  double worst = 0;
  const size_t vocab = exact[0].size();
  for (size_t t = 0; t < exact.size(); ++t) {
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(double{logits[t * vocab + v]});
    for (size_t v = 0; v < vocab; ++v) {
      const double difference = std::abs(logits[t * vocab + v] - std::log(sum) - exact[t][v]);
      worst = std::max(worst, difference / std::max(1.0, -exact[t][v]));
    }
  }
  return worst;
}

TEST_P(ModelFamilyTest, LogitsAgreeWithANaiveFloat64ForwardHoweverTheyAreComputed) {
  for (uint64_t seed = 1; seed <= kSpecs; ++seed) {
    const ModelSpec spec = RandomFamilySpec(GetParam(), seed);
    const WeightsSnapshot weights = RandomWeights(spec, seed);
    const std::vector<int32_t> ids = RandomRequest(spec, seed, 50, 1, 1).prompt_ids;
    const auto exact = NaiveModel(spec, weights).Logprobs(ids, 1);
    std::vector<float> first;
    for (const kernels::IsaName isa : kernels::DetectIsas()) {
      const std::string name(kernels::IsaText(isa));
      const std::unique_ptr<Engine> engine =
          MakeEngine(spec, weights, {.kv_cache_mib = 4, .block_tokens = 7, .isa = name});
      for (const int tokens_a_step : {50, 13, 1}) {
        const absl::StatusOr<std::vector<float>> logits = engine->Logits(ids, tokens_a_step);
        ASSERT_TRUE(logits.ok()) << logits.status();
        ASSERT_EQ(logits->size(), ids.size() * 32);
        EXPECT_LE(WorstLogprob(*logits, exact), 1e-5) << "seed " << seed << " isa " << name;
        if (isa == kernels::IsaName::kReference) continue;
        if (first.empty()) first = *logits;
        EXPECT_EQ(0, std::memcmp(first.data(), logits->data(), first.size() * sizeof(float)))
            << "seed " << seed << " isa " << name << " step " << tokens_a_step;
      }
      EXPECT_EQ(engine->stats().kv_used_frac, 0);
    }
  }
}

// The snapshot with its matrices as bf16 holds them; what the engine keeps in fp32 stays.
WeightsSnapshot RoundMatrices(const ModelSpec& spec, const WeightsSnapshot& weights) {
  const auto values = std::make_shared<std::vector<float>>();
  values->reserve(weights.bytes_total() / sizeof(float));
  for (size_t w = 0; w < weights.tensors.size(); ++w) {
    const WeightSpec& weight = spec.weights[w];
    // A tied embedding is the head as well.
    const bool is_kept = weight.role == WeightRole::kRouter || weight.shape.size() < 2 ||
                         (weight.role == WeightRole::kEmbedding && !spec.tie_embeddings);
    for (const float value : weights.tensors[w].f32()) {
      values->push_back(is_kept ? value : Bf16ToFloat(FloatToBf16(value)));
    }
  }
  WeightsSnapshot rounded = weights;
  const char* next = reinterpret_cast<const char*>(values->data());
  for (TensorView& tensor : rounded.tensors) {
    tensor.bytes = {next, tensor.bytes.size()};
    next += tensor.bytes.size();
  }
  rounded.storage = values;
  return rounded;
}

// Whether the engine keeps every matrix in bf16: those with an odd number of inputs it does not.
bool AreAllInBf16(const ModelSpec& spec) {
  bool are_even = true;
  for (const WeightSpec& weight : spec.weights) {
    are_even &= weight.shape.size() < 2 || weight.shape[1] % 2 == 0;
  }
  for (const LayerSpec& layer : spec.layers) {
    are_even &= !layer.mla.has_value() || layer.mla->qk_nope_head_dim % 2 == 0;
  }
  return are_even;
}

TEST_P(ModelFamilyTest, Bf16WeightsGiveTheLogitsOfTheRoundedModel) {
  for (uint64_t seed = 1; seed <= kSpecs; ++seed) {
    const ModelSpec spec = RandomFamilySpec(GetParam(), seed);
    const WeightsSnapshot weights = RandomWeights(spec, seed);
    const WeightsSnapshot rounded = RoundMatrices(spec, weights);
    const std::vector<int32_t> ids = RandomRequest(spec, seed, 50, 1, 1).prompt_ids;
    const auto exact = NaiveModel(spec, rounded).Logprobs(ids, 1);
    for (const kernels::IsaName isa : kernels::DetectIsas()) {
      const std::string name(kernels::IsaText(isa));
      const auto logits = [&](const WeightsSnapshot& of, const std::string& type) {
        return *MakeEngine(spec, of, {.weights = type, .isa = name})->Logits(ids, 13);
      };
      const std::vector<float> bf16 = logits(rounded, "bf16");
      EXPECT_LE(WorstLogprob(bf16, exact), 1e-5) << "seed " << seed << " isa " << name;
      // Rounding what is rounded changes nothing, so these were rounded by the engine.
      if (!spec.tie_embeddings && AreAllInBf16(spec)) {
        EXPECT_EQ(logits(weights, "bf16"), bf16) << "seed " << seed << " isa " << name;
      }
      // Latent attention is not multiplied out in bf16.
      if (spec.layers[0].gqa.has_value()) {
        EXPECT_EQ(logits(rounded, "fp32"), bf16) << "seed " << seed << " isa " << name;
      }
    }
  }
}

// Mean Kullback-Leibler divergence, in nats, of the rows of `logits` from the exact logprobs.
double MeanDivergence(const std::vector<float>& logits,
                      const std::vector<std::vector<double>>& exact) {
  double divergence = 0;
  const size_t vocab = exact[0].size();
  for (size_t t = 0; t < exact.size(); ++t) {
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(double{logits[t * vocab + v]});
    for (size_t v = 0; v < vocab; ++v) {
      const double logprob = logits[t * vocab + v] - std::log(sum);
      divergence += std::exp(exact[t][v]) * (exact[t][v] - logprob);
    }
  }
  return divergence / static_cast<double>(exact.size());
}

// Products in pairs round every activation, by up to 2^-9 of itself. A logprob moves by about as
// much (a divergence of some 1e-5), except where a token's choice of experts was close, which
// random weights make frequent: so it is the mean that is bounded. However they are computed, the
// bits are the same: decoding, prefill, and its chunks.
TEST_P(ModelFamilyTest, ProductsInPairsStayCloseAndDoNotDependOnTheStep) {
  std::vector<std::string> isas;  // best first
  for (const kernels::IsaName isa : kernels::DetectIsas(kernels::WeightType::kBf16)) {
    const bool has_pairs =
        isa == kernels::IsaName::kAvx512Bf16 || isa == kernels::IsaName::kAmxBf16;
    if (has_pairs) isas.emplace_back(kernels::IsaText(isa));
  }
  if (isas.empty()) GTEST_SKIP() << "this processor has no instructions for bf16";
  for (uint64_t seed = 1; seed <= kSpecs; ++seed) {
    const ModelSpec spec = RandomFamilySpec(GetParam(), seed);
    const WeightsSnapshot weights = RandomWeights(spec, seed);
    const std::vector<int32_t> ids = RandomRequest(spec, seed, 50, 1, 1).prompt_ids;
    const auto exact = NaiveModel(spec, RoundMatrices(spec, weights)).Logprobs(ids, 1);
    for (const std::string& isa : isas) {
      const std::unique_ptr<Engine> engine =
          MakeEngine(spec, weights, {.weights = "bf16", .kv_cache_mib = 4, .isa = isa});
      const std::vector<float> whole = *engine->Logits(ids, 50);
      const bool has_experts = spec.layers.back().moe.has_value();
      EXPECT_LE(MeanDivergence(whole, exact), has_experts ? 1e-2 : 1e-4)
          << "seed " << seed << " isa " << isa;
      for (const int tokens_a_step : {13, 8, 1}) {
        const std::vector<float> logits = *engine->Logits(ids, tokens_a_step);
        EXPECT_EQ(0, std::memcmp(logits.data(), whole.data(), whole.size() * sizeof(float)))
            << "seed " << seed << " isa " << isa << " step " << tokens_a_step;
      }
      if (isa != isas.front()) continue;  // `auto` means the best one
      EXPECT_EQ(*MakeEngine(spec, weights, {.weights = "bf16"})->Logits(ids, 13), whole);
    }
  }
}

TEST_P(ModelFamilyTest, SampledLogprobsAreThoseOfTheLogits) {
  const ModelSpec spec = RandomFamilySpec(GetParam(), 1);
  const WeightsSnapshot weights = RandomWeights(spec, 1);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, weights);
  const GroupRequest request = RandomRequest(spec, 1, 9, 3, 20);
  const Results results = RunAll(*engine, {request});
  for (const auto& [key, sample] : results) {
    std::vector<int32_t> ids = request.prompt_ids;
    ids.insert(ids.end(), sample.token_ids.begin(), sample.token_ids.end());
    const std::vector<float> logits = *engine->Logits(ids, static_cast<int>(ids.size()));
    for (size_t t = 0; t < sample.token_ids.size(); ++t) {
      const float* row = &logits[(request.prompt_ids.size() + t - 1) * 32];
      double sum = 0;
      for (int v = 0; v < 32; ++v) sum += std::exp(double{row[v]});
      EXPECT_NEAR(sample.logprobs[t], row[sample.token_ids[t]] - std::log(sum), 1e-6);
    }
  }
}

TEST_P(ModelFamilyTest, NeighboursBlocksThreadsAndPreemptionChangeNoBit) {
  uint64_t preemptions = 0;
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    const ModelSpec spec = RandomFamilySpec(GetParam(), seed);
    const WeightsSnapshot weights = RandomWeights(spec, seed);
    std::vector<GroupRequest> requests;
    for (uint64_t group = 0; group < 8; ++group) {
      requests.push_back(RandomRequest(spec, group, 1 + static_cast<int>(group * 11), 4, 40));
    }
    const Results expected = RunAll(*MakeEngine(spec, weights), requests);
    for (const EngineOptions& options :
         {EngineOptions{.threads = 3, .block_tokens = 5}, EngineOptions{.running_samples_max = 1},
          EngineOptions{.prefill_tokens_max = 3}}) {
      EXPECT_TRUE(SameResults(RunAll(*MakeEngine(spec, weights, options), requests), expected));
    }
    // More than one MiB of cache holds, so that samples lose their blocks and are computed again.
    for (GroupRequest& request : requests) request.response_tokens_max = 200;
    const Results longer = RunAll(
        *MakeEngine(spec, weights, {.running_samples_max = 48, .kv_cache_mib = 64}), requests);
    const std::unique_ptr<Engine> small =
        MakeEngine(spec, weights, {.running_samples_max = 48, .kv_cache_mib = 1});
    EXPECT_TRUE(SameResults(RunAll(*small, requests), longer));
    preemptions += small->stats().preemptions_total;
  }
  EXPECT_GT(preemptions, 0u);
}

std::string TypeName(kernels::WeightType type) {
  return type == kernels::WeightType::kBf16 ? "bf16" : "fp32";
}

// Products, a vocabulary and caches that are large enough for threads to share columns and heads.
constexpr const char* kLargeModels[] = {R"({
  "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 7000,
  "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 256, "num_hidden_layers": 2,
  "intermediate_size": 500, "num_attention_heads": 4, "num_key_value_heads": 2,
  "hidden_act": "silu", "rope_theta": 10000.0, "max_position_embeddings": 512,
  "use_sliding_window": false, "rms_norm_eps": 1e-6, "tie_word_embeddings": false})",
                                        R"({
  "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 7000,
  "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 256, "num_hidden_layers": 2,
  "first_k_dense_replace": 2, "intermediate_size": 500, "num_attention_heads": 6,
  "num_key_value_heads": 6, "q_lora_rank": null, "kv_lora_rank": 96, "qk_nope_head_dim": 48,
  "qk_rope_head_dim": 32, "v_head_dim": 48, "n_routed_experts": 4, "num_experts_per_tok": 2,
  "n_shared_experts": 1, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1,
  "norm_topk_prob": true, "routed_scaling_factor": 1.0, "topk_method": "noaux_tc",
  "scoring_func": "sigmoid", "hidden_act": "silu", "attention_bias": false,
  "rope_interleave": true, "rope_theta": 10000.0, "rope_scaling": null,
  "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": false})"};

class EngineThreadsTest : public testing::TestWithParam<const char*> {};

TEST_P(EngineThreadsTest, SharedColumnsAndHeadsChangeNoBit) {
  const absl::StatusOr<ModelSpec> spec = ParseModelSpec(GetParam());
  ASSERT_TRUE(spec.ok()) << spec.status();
  const WeightsSnapshot weights = RandomWeights(*spec, 1);
  for (const int samples : {1, 3, 20}) {  // rows for one thread, and for all
    GroupRequest request = RandomRequest(*spec, 1, 70, samples, 2);
    for (const auto type : {kernels::WeightType::kFp32, kernels::WeightType::kBf16}) {
      for (const kernels::IsaName isa : kernels::DetectIsas(type)) {
        const auto run = [&](int threads, double top_p) {
          request.filter.top_p = top_p;
          return RunAll(*MakeEngine(*spec, weights,
                                    {.threads = threads,
                                     .weights = TypeName(type),
                                     .kv_cache_mib = 16,
                                     .isa = std::string(kernels::IsaText(isa))}),
                        {request});
        };
        for (const double top_p : {1.0, 0.9}) {  // the fused head, and whole logits
          const Results expected = run(1, top_p);
          EXPECT_TRUE(SameResults(run(2, top_p), expected)) << kernels::IsaText(isa);
          EXPECT_TRUE(SameResults(run(3, top_p), expected)) << kernels::IsaText(isa);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EngineThreadsTest, testing::ValuesIn(kLargeModels));

// Rows of one token at a time choose different experts.
TEST(EngineStatsTest, ExpertsThatAStepReadsAreCounted) {
  const ModelSpec spec = RandomFamilySpec("qwen3_moe", 1);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, RandomWeights(spec, 1));
  GroupRequest request = RandomRequest(spec, 1, 1, 1, 5);
  request.stop_ids.clear();
  RunAll(*engine, {request});
  uint64_t active = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (layer.moe.has_value()) active += layer.moe->experts_per_token;
  }
  ASSERT_GT(active, 0u);
  EXPECT_EQ(engine->stats().experts_read_total, 5 * active);
}

TEST(EngineLogitsTest, WhatDoesNotFitIsRefused) {
  const ModelSpec spec = RandomFamilySpec("qwen2", 1);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, RandomWeights(spec, 1));
  const std::vector<int32_t> ids = {1, 2, 3};
  EXPECT_THAT(std::string(engine->Logits({}, 1).status().message()), HasSubstr("found 0"));
  EXPECT_THAT(std::string(engine->Logits({1, 32}, 1).status().message()), HasSubstr("ids[1]"));
  EXPECT_THAT(std::string(engine->Logits(ids, 0).status().message()), HasSubstr("tokens_a_step"));
  EXPECT_THAT(std::string(engine->Logits(std::vector<int32_t>(601, 1), 1).status().message()),
              HasSubstr("1 to 600 ids"));
  ASSERT_TRUE(engine->Submit(RandomRequest(spec, 1, 5, 1, 4)).ok());
  EXPECT_EQ(engine->Logits(ids, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  engine->Cancel(1);
  EXPECT_TRUE(engine->Logits(ids, 1).ok());
  EXPECT_EQ((*Engine::Create(spec, {}))->Logits(ids, 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(EngineSpecTest, AttentionThatTheKernelsLackIsRefusedByLayer) {
  const auto refused = [](const std::function<void(LayerSpec&)>& change) {
    ModelSpec spec = RandomFamilySpec("qwen2", 2);
    change(spec.layers[0]);
    const absl::Status status = Engine::Create(spec, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("layer 0"));
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](LayerSpec& layer) { layer.gqa->kv_heads = layer.gqa->heads + 1; }),
              HasSubstr("multiple of kv_heads"));
  EXPECT_THAT(refused([](LayerSpec& layer) { layer.gqa->rope.dim += 2; }), HasSubstr("rope.dim"));
  EXPECT_THAT(refused([](LayerSpec& layer) { layer.gqa.reset(); }), HasSubstr("grouped-query"));
  EXPECT_THAT(refused([](LayerSpec& layer) { layer.dense.reset(); }), HasSubstr("dense"));
  EXPECT_THAT(refused([](LayerSpec& layer) { layer.dense->intermediate = 131073; }),
              HasSubstr("up to 131072"));
}

}  // namespace
}  // namespace r1::rollout
