// The golden checkpoints in both engines: the rollout engine's prefill, its step-by-step decode and
// the learner agree with each other. That each agrees with transformers is shown where it is
// (engine_golden_test, model_golden_test).

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/models/model_costs.h"
#include "learner/policy/policy.h"
#include "rollout/engine/engine.h"
#include "rollout/engine/runner.h"
#include "tests/common/model_case.h"

namespace r1 {
namespace {

double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  R1_CHECK(a.size() <= b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max<double>(largest, std::fabs(a[i] - b[i]));
  }
  return largest;
}

class ModelEnginesTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto read = ReadModelCase(GetParam());
    ASSERT_TRUE(read.ok()) << read.status();
    golden_ = *std::move(read);
    auto engine = rollout::Engine::Create(golden_.spec, {.kv_cache_mib = 4});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    ASSERT_TRUE(engine_->LoadWeights(golden_.weights).ok());
  }
  ModelCase golden_;
  std::unique_ptr<rollout::Engine> engine_;
};

TEST_P(ModelEnginesTest, PrefillDecodeAndLearnerAgree) {
  const auto prefill = engine_->Logits(golden_.ids, static_cast<int>(golden_.ids.size()));
  const auto decode = engine_->Logits(golden_.ids, 1);
  ASSERT_TRUE(prefill.ok()) << prefill.status();
  ASSERT_TRUE(decode.ok()) << decode.status();
  EXPECT_EQ(*prefill, *decode);

  auto policy = learner::Policy::Create(golden_.spec, {}, 1);
  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_TRUE((*policy)->Load(golden_.weights).ok());
  learner::PackedBatch batch;
  batch.Append(golden_.ids, 1);
  const auto learned = (*policy)->Logits(batch);
  ASSERT_TRUE(learned.ok()) << learned.status();
  EXPECT_LT(Difference(*learned, *prefill), 1e-5 * golden_.scale());
}

TEST_P(ModelEnginesTest, TheCacheIsAsLargeAsPlanned) {
  EXPECT_EQ(CacheValues(golden_.spec) * static_cast<int64_t>(sizeof(float)),
            rollout::CpuRunnerKind().cache_bytes_per_token(golden_.spec));
}

INSTANTIATE_TEST_SUITE_P(Families, ModelEnginesTest, testing::ValuesIn(ModelCaseNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace r1
