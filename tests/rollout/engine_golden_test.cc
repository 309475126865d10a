// The rollout engine against transformers on tiny random checkpoints of every family: logits by
// prefill, in chunks and step by step, logprobs and greedy tokens.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "rollout/engine/engine.h"
#include "tests/common/model_case.h"
#include "tests/rollout/engine_testing.h"

namespace r1::rollout {
namespace {

class EngineGoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto read = ReadModelCase(GetParam());
    ASSERT_TRUE(read.ok()) << read.status();
    golden_ = *std::move(read);
  }
  ModelCase golden_;
};

TEST_P(EngineGoldenTest, LogitsAndLogprobsAreThoseOfTransformers) {
  const auto vocab = static_cast<size_t>(golden_.spec.vocab);
  for (const kernels::IsaName isa : kernels::DetectIsas()) {
    const std::unique_ptr<Engine> engine =
        MakeEngine(golden_.spec, golden_.weights,
                   {.kv_cache_mib = 4, .isa = std::string(kernels::IsaText(isa))});
    for (const int tokens_a_step : {40, 7, 1}) {
      const auto logits = engine->Logits(golden_.ids, tokens_a_step);
      ASSERT_TRUE(logits.ok()) << logits.status();
      ASSERT_EQ(logits->size(), golden_.logits.size());
      double largest = 0;
      for (size_t i = 0; i < logits->size(); ++i) {
        largest = std::max<double>(largest, std::fabs((*logits)[i] - golden_.logits[i]));
      }
      EXPECT_LT(largest, 1e-4 * golden_.scale()) << kernels::IsaText(isa);
      for (size_t t = 0; t < golden_.logprobs.size(); ++t) {
        const float* row = logits->data() + t * vocab;
        double sum = 0;
        for (size_t v = 0; v < vocab; ++v) sum += std::exp(double{row[v]});
        EXPECT_NEAR(row[golden_.ids[t + 1]] - std::log(sum), golden_.logprobs[t], 1e-5)
            << kernels::IsaText(isa) << " token " << t;
      }
    }
  }
}

TEST_P(EngineGoldenTest, GreedyTokensAreThoseOfTransformers) {
  GroupRequest request;
  request.prompt_ids.assign(golden_.ids.begin(), golden_.ids.begin() + golden_.prompt_tokens);
  request.sample_indices = {0};
  request.temperature = 0;
  request.response_tokens_max = static_cast<uint32_t>(golden_.greedy.size());
  const std::unique_ptr<Engine> engine = MakeEngine(golden_.spec, golden_.weights);
  EXPECT_EQ(RunAll(*engine, {request}).begin()->second.token_ids, golden_.greedy);
  request.raw_logprobs = true;  // through whole rows of logits
  EXPECT_EQ(RunAll(*engine, {request}).begin()->second.token_ids, golden_.greedy);
}

INSTANTIATE_TEST_SUITE_P(Cases, EngineGoldenTest, testing::ValuesIn(ModelCaseNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace r1::rollout
