// A family that only seventh_family.cc knows: learner and engine compute it, alike, and a folder of
// it is read. Nothing else in the program has heard of it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/filesystem.h"
#include "common/safetensors.h"
#include "learner/policy/policy.h"
#include "rollout/engine/engine.h"
#include "tests/learner/learner_testing.h"

namespace r1 {
namespace {

constexpr char kConfig[] = R"({
  "model_type": "pico", "hidden_size": 32, "vocab_size": 48, "num_hidden_layers": 3,
  "max_position_embeddings": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
  "head_dim": 12, "intermediate_size": 40, "expert_size": 16, "experts": 6,
  "experts_per_token": 2,
  "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16}})";

TEST(SeventhFamilyTest, LearnerAndEngineComputeTheSame) {
  const auto spec = ParseModelSpec(kConfig);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto policy = learner::RandomPolicy(*spec, 5);
  const WeightsSnapshot weights = policy->Snapshot(1);
  auto engine = rollout::Engine::Create(*spec, {.kv_cache_mib = 4});
  ASSERT_TRUE(engine.ok()) << engine.status();
  ASSERT_TRUE((*engine)->LoadWeights(weights).ok());

  std::vector<int32_t> ids;
  Rng rng = learner::TestRng(7);
  for (int i = 0; i < 40; ++i) ids.push_back(static_cast<int32_t>(rng.NextBelow(48)));
  learner::PackedBatch batch;
  batch.Append(ids, 1);
  const auto expected = policy->Logits(batch);
  ASSERT_TRUE(expected.ok()) << expected.status();
  double scale = 0;
  for (const float logit : *expected) scale = std::max<double>(scale, std::fabs(logit));
  for (const int tokens_a_step : {1, 40}) {
    const auto logits = (*engine)->Logits(ids, tokens_a_step);
    ASSERT_TRUE(logits.ok()) << logits.status();
    for (size_t i = 0; i < expected->size(); ++i) {
      ASSERT_NEAR((*logits)[i], (*expected)[i], 1e-5 * scale) << i;
    }
  }
}

TEST(SeventhFamilyTest, AFolderOfItIsRead) {
  const std::string folder = testing::TempDir() + "r1_seventh_family";
  ASSERT_TRUE(RealFileSystem().CreateDirectories(folder).ok());
  const ModelSpec spec = *ParseModelSpec(kConfig);
  const WeightsSnapshot weights = learner::RandomPolicy(spec, 5)->Snapshot(1);
  ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), JoinPath(folder, "config.json"), kConfig).ok());
  ASSERT_TRUE(
      WriteSafetensors(RealFileSystem(), JoinPath(folder, "model.safetensors"), weights.tensors)
          .ok());
  const auto read = ReadModelFolder(folder, *ReadModelSpec(folder));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->Digest(), weights.Digest());
  EXPECT_EQ(read->tensors[0].name, "decoder.embed_tokens.weight");
  EXPECT_TRUE(RealFileSystem().RemoveAll(folder).ok());
}

TEST(SeventhFamilyTest, ItIsTheExampleOfTheDocumentation) {
  const auto page = RealFileSystem().Read("docs/add_a_model.md", 1 << 20);
  const auto family = RealFileSystem().Read("tests/integration/seventh_family.cc", 1 << 20);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_TRUE(family.ok()) << family.status();
  EXPECT_THAT(*page, testing::HasSubstr(*family));
}

}  // namespace
}  // namespace r1
