// The golden checkpoints as folders: each is read, and what would make it another model is found.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/common/model_case.h"

namespace r1 {
namespace {

TEST(ModelCasesTest, EveryFolderIsReadWithItsExpectation) {
  std::set<std::string> families;
  for (const std::string& name : ModelCaseNames()) {
    const auto golden = ReadModelCase(name);
    ASSERT_TRUE(golden.ok()) << name << ": " << golden.status();
    families.insert(golden->spec.family);
    const size_t tokens = golden->ids.size();
    EXPECT_EQ(golden->logits.size(), tokens * static_cast<size_t>(golden->spec.vocab)) << name;
    EXPECT_EQ(golden->logprobs.size(), tokens - 1) << name;
    EXPECT_EQ(golden->greedy.size(), 32u) << name;
    const auto trainable =
        std::count_if(golden->spec.weights.begin(), golden->spec.weights.end(),
                      [](const WeightSpec& weight) { return weight.trainable(); });
    EXPECT_EQ(golden->grad_norms.size(), static_cast<size_t>(trainable)) << name;
  }
  EXPECT_THAT(families, testing::ElementsAre("deepseek_v2", "deepseek_v3", "llama", "qwen2",
                                             "qwen3", "qwen3_moe"));
}

TEST(ModelCasesTest, GenerationConfigSaysWhereATextEnds) {
  const auto golden = ReadModelCase("llama_3");
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_THAT(golden->spec.eos_ids, testing::ElementsAre(2, 5, 7));
  EXPECT_THAT(ReadModelCase("qwen3_heads")->spec.eos_ids, testing::ElementsAre(1));
}

}  // namespace
}  // namespace r1
