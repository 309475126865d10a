// The engine as a whole: against a float64 forward, and against itself under every circumstance
// that must not matter.

#include "rollout/engine/engine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/isa.h"
#include "tests/rollout/engine_testing.h"
#include "tests/rollout/naive_model.h"

namespace r1::rollout {
namespace {

using testing::HasSubstr;

std::vector<std::string> Isas() {
  std::vector<std::string> names;
  for (const kernels::IsaName isa : kernels::DetectIsas())
    names.emplace_back(kernels::IsaText(isa));
  return names;
}

// The largest |logprob - exact logprob| over all tokens of a request's results; greedy tokens must
// be the exact argmax unless the two best are within the tolerance.
double WorstLogprob(const NaiveModel& naive, const GroupRequest& request, const Results& results) {
  double worst = 0;
  for (const uint32_t index : request.sample_indices) {
    const GeneratedSample& sample = results.at({request.request_id, index});
    EXPECT_EQ(sample.token_ids.size(), sample.logprobs.size());
    std::vector<int32_t> ids = request.prompt_ids;
    ids.insert(ids.end(), sample.token_ids.begin(), sample.token_ids.end() - 1);
    const auto logprobs = naive.Logprobs(ids, request.temperature == 0 ? 1 : request.temperature);
    for (size_t t = 0; t < sample.token_ids.size(); ++t) {
      const std::vector<double>& exact = logprobs[request.prompt_ids.size() - 1 + t];
      worst = std::max(worst, std::abs(exact[sample.token_ids[t]] - sample.logprobs[t]));
      if (request.temperature == 0) {
        EXPECT_GE(exact[sample.token_ids[t]], *std::max_element(exact.begin(), exact.end()) - 1e-5);
      }
    }
  }
  return worst;
}

TEST(EngineTest, LogprobsAgreeWithANaiveFloat64Forward) {
  double worst = 0;
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    const ModelSpec spec = RandomSpec(seed);
    const WeightsSnapshot weights = RandomWeights(spec, seed);
    const NaiveModel naive(spec, weights);
    for (const std::string& isa : Isas()) {
      std::vector<GroupRequest> requests;
      for (uint64_t group = 0; group < 4; ++group) {
        requests.push_back(
            RandomRequest(spec, group, group == 0 ? 1 : 3 + 9 * static_cast<int>(group), 2, 14));
        requests.back().temperature = group == 1 ? 0 : group == 2 ? 0.7 : 1;
      }
      const std::unique_ptr<Engine> engine =
          MakeEngine(spec, weights, {.kv_cache_mib = 4, .isa = isa});
      const Results results = RunAll(*engine, requests);
      for (const GroupRequest& request : requests) {
        const double difference = WorstLogprob(naive, request, results);
        EXPECT_LE(difference, 1e-5)
            << "spec seed " << seed << " isa " << isa << " request " << request.request_id;
        worst = std::max(worst, difference);
      }
    }
  }
  RecordProperty("worst_logprob_difference", std::to_string(worst));
}

TEST(EngineTest,
     LongSequencesAgreeWithANaiveFloat64Forward) {  // several blocks and attention segments
  const ModelSpec spec = SmallSpec();
  const WeightsSnapshot weights = RandomWeights(spec, 5);
  const NaiveModel naive(spec, weights);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, weights, {.prefill_tokens_max = 37});
  const std::vector<GroupRequest> requests = {RandomRequest(spec, 1, 300, 2, 250)};
  EXPECT_LE(WorstLogprob(naive, requests[0], RunAll(*engine, requests)), 1e-5);
}

// Twenty-four groups of different lengths; what each sample must be, whatever happens around it.
class InvarianceTest : public testing::Test {
 protected:
  InvarianceTest() : spec_(SmallSpec()), weights_(RandomWeights(spec_, 3)) {
    for (uint64_t group = 0; group < 24; ++group) {
      requests_.push_back(RandomRequest(spec_, group, 1 + static_cast<int>(group * 7 % 50), 3, 40));
      requests_.back().stop_ids = {2};
      requests_.back().temperature = group % 5 == 4 ? 0 : 1;
    }
    expected_ = RunAll(*MakeEngine(spec_, weights_), requests_);
  }

  // Runs the requests under other options; the results must not change.
  EngineStats ExpectSame(const EngineOptions& options, const std::string& what) {
    const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_, options);
    EXPECT_TRUE(SameResults(RunAll(*engine, requests_), expected_)) << what;
    EXPECT_EQ(engine->stats().kv_used_frac, 0) << what;
    EXPECT_EQ(engine->stats().running_samples, 0) << what;
    return engine->stats();
  }

  ModelSpec spec_;
  WeightsSnapshot weights_;
  std::vector<GroupRequest> requests_;
  Results expected_;
};

TEST_F(InvarianceTest, TheResultsAreNotTrivial) {
  ASSERT_EQ(expected_.size(), 72u);
  int stopped = 0;
  for (const auto& [key, sample] : expected_) {
    stopped += sample.stopped;
    EXPECT_EQ(sample.stopped, sample.token_ids.back() == 2);
    EXPECT_EQ(std::count(sample.token_ids.begin(), sample.token_ids.end() - 1, 2), 0);
    EXPECT_TRUE(sample.stopped || sample.token_ids.size() == 40u);
  }
  EXPECT_GT(stopped, 10);
  EXPECT_LT(stopped, 70);
  EXPECT_NE(expected_.at({0, 0}).token_ids, expected_.at({0, 1}).token_ids);
}

TEST_F(InvarianceTest, ThreadsDoNotMatter) {
  for (const int threads : {2, 3, 7}) ExpectSame({.threads = threads}, "threads");
}

TEST_F(InvarianceTest, BlockSizeDoesNotMatter) {
  for (const int block_tokens : {1, 5, 32, 256})
    ExpectSame({.block_tokens = block_tokens}, "block_tokens");
}

TEST_F(InvarianceTest, PrefillChunksDoNotMatter) {
  for (const int chunk : {1, 3, 17, 64})
    ExpectSame({.prefill_tokens_max = chunk}, "prefill_tokens_max");
}

TEST_F(InvarianceTest, ConcurrencyDoesNotMatter) {
  for (const int running : {1, 2, 3, 10, 500})
    ExpectSame({.running_samples_max = running}, "running_samples_max");
}

TEST_F(InvarianceTest, FastInstructionSetsGiveEqualBits) {
  for (const kernels::IsaName isa : kernels::DetectIsas()) {
    if (isa == kernels::IsaName::kReference) continue;
    ExpectSame({.isa = std::string(kernels::IsaText(isa))}, "isa");
  }
}

TEST_F(InvarianceTest, ASampleAloneIsTheSameSample) {
  const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_);
  for (const size_t group : {0u, 4u, 13u, 23u}) {
    for (const uint32_t index : requests_[group].sample_indices) {
      GroupRequest alone = requests_[group];
      alone.sample_indices = {index};  // not forked
      const Results results = RunAll(*engine, {alone});
      ASSERT_EQ(results.size(), 1u);
      EXPECT_TRUE(SameSample(results.begin()->second, expected_.at({group, index})));
    }
  }
}

TEST_F(InvarianceTest, AmongFiveHundredOthersItIsTheSameSample) {
  std::vector<GroupRequest> crowd;
  for (uint64_t i = 0; i < 128; ++i)
    crowd.push_back(RandomRequest(spec_, 1000 + i, 1 + i % 60, 4, 30));
  const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_, {.running_samples_max = 700});
  for (const GroupRequest& request : crowd) ASSERT_TRUE(engine->Submit(request).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->Step().ok());
  Results results = RunAll(*engine, requests_);
  std::erase_if(results, [](const auto& entry) { return entry.first.first >= 1000; });
  EXPECT_TRUE(SameResults(results, expected_));
}

TEST_F(InvarianceTest, PreemptedSamplesAreComputedAgainToTheSameBits) {
  // Long responses of many samples in a cache of 1 MiB, 2730 tokens: they cannot all stay.
  std::vector<GroupRequest> requests;
  for (uint64_t group = 0; group < 30; ++group)
    requests.push_back(RandomRequest(spec_, group, 20 + group, 8, 60));
  const Results expected = RunAll(*MakeEngine(spec_, weights_, {.kv_cache_mib = 64}), requests);
  const std::unique_ptr<Engine> small =
      MakeEngine(spec_, weights_, {.running_samples_max = 240, .kv_cache_mib = 1});
  EXPECT_TRUE(SameResults(RunAll(*small, requests), expected));
  EXPECT_GT(small->stats().preemptions_total, 50u);
  EXPECT_EQ(small->stats().kv_used_frac, 0);
}

TEST_F(InvarianceTest, CancelledNeighboursLeaveNoTrace) {
  const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_, {.running_samples_max = 40});
  for (const GroupRequest& request : requests_) ASSERT_TRUE(engine->Submit(request).ok());
  Results results;
  for (int step = 0; !engine->idle(); ++step) {
    if (step == 3) engine->Cancel(0);        // running
    if (step == 4) engine->Cancel(20);       // waiting
    if (step == 5) engine->Cancel(123'456);  // unknown
    const absl::StatusOr<std::vector<GeneratedSample>> finished = engine->Step();
    ASSERT_TRUE(finished.ok());
    for (const GeneratedSample& sample : *finished)
      results[{sample.request_id, sample.sample_index}] = sample;
  }
  Results expected = expected_;
  std::erase_if(expected, [](const auto& entry) {
    return entry.first.first == 0 || entry.first.first == 20;
  });
  std::erase_if(results, [](const auto& entry) {
    return entry.first.first == 0;
  });  // finished before the cancel
  EXPECT_TRUE(SameResults(results, expected));
  EXPECT_EQ(engine->stats().kv_used_frac, 0);
  EXPECT_TRUE(engine->Submit(requests_[0]).ok());  // its id is free again
}

TEST_F(InvarianceTest, ReloadedWeightsGiveTheSameBitsAndOtherWeightsOthers) {
  const std::unique_ptr<Engine> engine = MakeEngine(spec_, weights_);
  EXPECT_TRUE(SameResults(RunAll(*engine, requests_), expected_));
  ASSERT_TRUE(engine->LoadWeights(RandomWeights(spec_, 4, 9)).ok());
  EXPECT_EQ(engine->stats().policy_version, 9u);
  EXPECT_FALSE(SameResults(RunAll(*engine, requests_), expected_));
  ASSERT_TRUE(engine->LoadWeights(weights_).ok());
  EXPECT_TRUE(SameResults(RunAll(*engine, requests_), expected_));
}

TEST_F(InvarianceTest, ThePromptOfAGroupIsComputedOnce) {
  const EngineStats stats = ExpectSame({}, "defaults");
  uint64_t prompt_tokens = 0;
  uint64_t response_tokens = 0;
  for (const GroupRequest& request : requests_) prompt_tokens += request.prompt_ids.size();
  for (const auto& [key, sample] : expected_) response_tokens += sample.token_ids.size();
  EXPECT_EQ(stats.prefill_tokens_total, prompt_tokens);
  EXPECT_EQ(stats.generated_tokens_total, response_tokens);
  EXPECT_EQ(stats.preemptions_total, 0u);
}

// 31 degrees of freedom: above 61.1 with probability 1e-3 when the distribution is right; the seed
// is fixed.
TEST(EngineSamplingTest, FirstTokensPassAChiSquareTest) {
  const ModelSpec spec = SmallSpec();
  const WeightsSnapshot weights = RandomWeights(spec, 8);
  const std::unique_ptr<Engine> engine = MakeEngine(spec, weights);
  const GroupRequest first = RandomRequest(spec, 0, 6, 512, 1);
  std::vector<int> counts(spec.vocab);
  constexpr int kGroups = 60;
  for (int group = 0; group < kGroups; ++group) {
    GroupRequest request = first;  // the same prompt, other random numbers
    request.group_id = group;
    for (const auto& [key, sample] : RunAll(*engine, {request})) ++counts[sample.token_ids.at(0)];
  }
  const std::vector<double> logprobs =
      NaiveModel(spec, weights).Logprobs(first.prompt_ids, 1).back();
  double chi_square = 0;
  for (int v = 0; v < spec.vocab; ++v) {
    const double expected = 512 * kGroups * std::exp(logprobs[v]);
    chi_square += (counts[v] - expected) * (counts[v] - expected) / expected;
  }
  EXPECT_LT(chi_square, 61.1);
  RecordProperty("chi_square", std::to_string(chi_square));
}

TEST(EngineSamplingTest, ShortestPromptAndResponse) {
  const ModelSpec spec = SmallSpec();
  const std::unique_ptr<Engine> engine = MakeEngine(spec, RandomWeights(spec, 1));
  const Results results = RunAll(*engine, {RandomRequest(spec, 1, 1, 4, 1)});
  ASSERT_EQ(results.size(), 4u);
  for (const auto& [key, sample] : results) EXPECT_EQ(sample.token_ids.size(), 1u);
}

class EngineErrorTest : public testing::Test {
 protected:
  EngineErrorTest()
      : spec_(SmallSpec()),
        weights_(RandomWeights(spec_, 1)),
        engine_(MakeEngine(spec_, weights_)) {}

  void ExpectRefused(const GroupRequest& request, const std::string& message) {
    const absl::Status status = engine_->Submit(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_TRUE(engine_->idle());
  }

  ModelSpec spec_;
  WeightsSnapshot weights_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineErrorTest, BadRequestsAreRefusedByField) {
  const GroupRequest good = RandomRequest(spec_, 1, 5, 2, 4);
  GroupRequest bad = good;
  bad.prompt_ids.clear();
  ExpectRefused(bad, "the prompt is empty");
  bad = good, bad.sample_indices.clear();
  ExpectRefused(bad, "no samples");
  bad = good, bad.sample_indices = {3, 3};
  ExpectRefused(bad, "a sample index occurs twice");
  bad = good, bad.prompt_ids[3] = 32;
  ExpectRefused(bad, "prompt_ids[3]: expected 0 to 31, found 32");
  bad = good, bad.prompt_ids[0] = -1;
  ExpectRefused(bad, "prompt_ids[0]");
  bad = good, bad.stop_ids = {2, 99};
  ExpectRefused(bad, "stop_ids[1]");
  bad = good, bad.response_tokens_max = 0;
  ExpectRefused(bad, "response_tokens_max");
  for (const double temperature :
       {-1.0, 1e-9, std::nan(""), std::numeric_limits<double>::infinity()}) {
    bad = good, bad.temperature = temperature;
    ExpectRefused(bad, "temperature");
  }
  bad = good, bad.response_tokens_max = 4'000'000'000u;
  ExpectRefused(bad, "do not fit");
}

TEST_F(EngineErrorTest, ARequestIdIsUniqueAmongUnfinishedOnes) {
  ASSERT_TRUE(engine_->Submit(RandomRequest(spec_, 1, 5, 2, 4)).ok());
  const absl::Status status = engine_->Submit(RandomRequest(spec_, 1, 7, 2, 4));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  while (!engine_->idle()) ASSERT_TRUE(engine_->Step().ok());
  EXPECT_TRUE(engine_->Submit(RandomRequest(spec_, 1, 7, 2, 4)).ok());
}

TEST_F(EngineErrorTest, WhatTheModelOrTheCacheCannotHoldIsRefusedAndTheLimitItselfWorks) {
  // 600 positions: prompt and response may have 601 tokens, because the last one is only drawn.
  ExpectRefused(RandomRequest(spec_, 1, 500, 1, 102), "at most 601 tokens");
  EXPECT_EQ(
      RunAll(*engine_, {RandomRequest(spec_, 1, 500, 1, 101)}).begin()->second.token_ids.size(),
      101u);
  // One block of 4096 tokens, of which the model can use 600; then a cache below that.
  const std::unique_ptr<Engine> tiny = MakeEngine(
      spec_, weights_, {.running_samples_max = 1, .kv_cache_mib = 1, .block_tokens = 2048});
  EXPECT_EQ(RunAll(*tiny, {RandomRequest(spec_, 1, 500, 3, 101)}).size(), 3u);
}

TEST_F(EngineErrorTest, NothingRunsWithoutWeightsAndNoWeightsArriveWhileSomethingRuns) {
  const std::unique_ptr<Engine> engine = *Engine::Create(spec_, {});
  EXPECT_EQ(engine->Submit(RandomRequest(spec_, 1, 5, 1, 4)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(engine->Step()->empty());
  ASSERT_TRUE(engine_->Submit(RandomRequest(spec_, 1, 5, 1, 4)).ok());
  EXPECT_EQ(engine_->LoadWeights(weights_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(EngineErrorTest, WeightsThatDoNotFitAreRefusedAndTheOldOnesStay) {
  const Results before = RunAll(*engine_, {RandomRequest(spec_, 1, 5, 2, 9)});
  WeightsSnapshot bad = RandomWeights(spec_, 1, 77);
  bad.tensors[3].shape[0] += 1;
  EXPECT_EQ(engine_->LoadWeights(bad).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(engine_->stats().policy_version, 1u);
  EXPECT_TRUE(SameResults(RunAll(*engine_, {RandomRequest(spec_, 1, 5, 2, 9)}), before));
}

TEST_F(EngineErrorTest, LogitsThatAreNoNumbersAreAnErrorThatNamesTheRequest) {
  const Results before = RunAll(*engine_, {RandomRequest(spec_, 1, 5, 2, 9)});
  std::vector<float> poison(spec_.hidden, std::numeric_limits<float>::quiet_NaN());
  WeightsSnapshot bad = RandomWeights(spec_, 1, 2);
  const int norm = *spec_.FindWeight(WeightRole::kFinalNorm);
  bad.tensors[norm].bytes = absl::string_view(reinterpret_cast<const char*>(poison.data()),
                                              poison.size() * sizeof(float));
  ASSERT_TRUE(engine_->LoadWeights(bad).ok());
  ASSERT_TRUE(engine_->Submit(RandomRequest(spec_, 42, 5, 2, 9)).ok());
  for (int attempt = 0; attempt < 2; ++attempt) {
    const absl::Status status = engine_->Step().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("request 42"));
  }
  engine_->Cancel(42);
  EXPECT_TRUE(engine_->idle());
  EXPECT_EQ(engine_->stats().kv_used_frac, 0);
  ASSERT_TRUE(engine_->LoadWeights(weights_).ok());
  EXPECT_TRUE(SameResults(RunAll(*engine_, {RandomRequest(spec_, 1, 5, 2, 9)}), before));
}

TEST(EngineCreateTest, BadOptionsAreRefusedByName) {
  const ModelSpec spec = SmallSpec();
  const auto refused = [&](const EngineOptions& options) {
    const absl::Status status = Engine::Create(spec, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refused({.threads = 0}), HasSubstr("threads"));
  EXPECT_THAT(refused({.running_samples_max = 0}), HasSubstr("running_samples_max"));
  EXPECT_THAT(refused({.kv_cache_mib = 0}), HasSubstr("kv_cache_mib"));
  EXPECT_THAT(refused({.block_tokens = -1}), HasSubstr("block_tokens"));
  EXPECT_THAT(refused({.device = "tpu"}),
              HasSubstr("expected cpu, cuda, cuda:0 to cuda:63 or auto, found \"tpu\""));
  EXPECT_THAT(refused({.prefill_tokens_max = 0}), HasSubstr("prefill_tokens_max"));
  EXPECT_THAT(refused({.isa = "mmx"}), HasSubstr("mmx"));
}

TEST(EngineCreateTest, SizesThatTheKernelsLackAreRefusedByLayer) {
  ModelSpec spec = SmallSpec();
  spec.layers[1].mla->qk_rope_head_dim = 7;
  const absl::Status status = Engine::Create(spec, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer 1"));
  ModelSpec many = SmallSpec();
  many.layers[1].moe->experts = 1024;
  EXPECT_THAT(std::string(Engine::Create(many, {}).status().message()), HasSubstr("512 experts"));
}

TEST(EngineCreateTest, ACacheThatHoldsNoBlockIsRefused) {
  ModelSpec spec = SmallSpec();
  for (LayerSpec& layer : spec.layers) layer.mla->kv_lora_rank = 1 << 16;
  const absl::Status status = Engine::Create(spec, {.kv_cache_mib = 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("hold no block"));
}

}  // namespace
}  // namespace r1::rollout
