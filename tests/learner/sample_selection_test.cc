// Which samples rejection sampling keeps: each rule, their order, duplicates, and the best k.

#include "learner/sample_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rng.h"

namespace r1::learner {
namespace {

using testing::ElementsAre;

v1::Sample& AddSample(v1::Group& group, const std::string& text, double right, int tokens = 4) {
  v1::Sample& sample = *group.add_samples();
  sample.set_sample_index(static_cast<uint32_t>(group.samples_size() - 1));
  sample.set_text(text);
  for (int i = 0; i < tokens; ++i) sample.add_token_ids(i);
  sample.set_finish_reason(v1::FINISH_REASON_STOP);
  sample.set_reward(right);
  v1::RewardPart& part = *sample.add_parts();
  part.set_name("exact_match");
  part.set_value(right);
  return sample;
}

v1::RejectionSamplingConfig Config() {
  v1::RejectionSamplingConfig config;
  v1::KeepRuleConfig& rule = *config.add_keep();
  rule.set_name("exact_match");
  rule.set_min(1);
  rule.set_max(1000);
  config.set_deduplicate("exact");
  config.set_ties("first");
  return config;
}

std::vector<std::string> Reasons(SampleSelector& selector, const std::string& prompt,
                                 const v1::Group& group) {
  std::vector<std::string> reasons;
  for (const SampleVerdict& verdict : selector.Judge(prompt, group)) {
    reasons.push_back(verdict.kept() ? "kept" : verdict.reason);
  }
  return reasons;
}

TEST(SampleSelectionTest, TheFirstFaultIsNamed) {
  v1::RejectionSamplingConfig config = Config();
  config.set_tokens_min(2);
  config.set_tokens_max(5);
  v1::Group group;
  AddSample(group, "right", 1);
  AddSample(group, "wrong", 0);
  AddSample(group, "short", 1, 1);
  AddSample(group, "long", 1, 6);
  AddSample(group, "cut", 1).set_finish_reason(v1::FINISH_REASON_LENGTH);
  AddSample(group, "unscored", 1).set_masked(true);
  SampleSelector selector(config);
  EXPECT_THAT(Reasons(selector, "p", group),
              ElementsAre("kept", "exact_match", "too_short", "too_long", "truncated", "masked"));
  config.set_keep_truncated(true);
  SampleSelector lenient(config);
  EXPECT_EQ(Reasons(lenient, "p", group)[4], "kept");
}

TEST(SampleSelectionTest, RulesBoundNamedRewardsAndTheTotalOnBothSides) {
  v1::RejectionSamplingConfig config = Config();
  v1::KeepRuleConfig& total = *config.add_keep();
  total.set_name("total");
  total.set_min(0.5);
  total.set_max(0.8);
  v1::KeepRuleConfig& absent = *config.add_keep();
  absent.set_name("language_consistency");
  absent.set_min(0);
  absent.set_max(1);
  v1::Group group;
  AddSample(group, "a", 1);                     // total too large
  AddSample(group, "b", 1).set_reward(0.8);     // its row is not for language_consistency
  v1::Sample& good = AddSample(group, "c", 1);  // at the bound
  good.set_reward(0.5);
  good.add_parts()->set_name("language_consistency");
  v1::Sample& mixed = AddSample(group, "d", 1);
  mixed.set_reward(0.5);
  v1::RewardPart& part = *mixed.add_parts();
  part.set_name("language_consistency");
  part.set_value(-0.1);
  SampleSelector selector(config);
  EXPECT_THAT(Reasons(selector, "p", group),
              ElementsAre("total", "kept", "kept", "language_consistency"));
}

TEST(SampleSelectionTest, DuplicatesOfAPromptAreLeftOutAcrossGroups) {
  v1::Group first;
  AddSample(first, "same", 1);
  AddSample(first, "same", 1);
  AddSample(first, "Same ", 1);
  v1::Group second;
  AddSample(second, "same", 1);
  AddSample(second, "other", 1);
  SampleSelector exact(Config());
  EXPECT_THAT(Reasons(exact, "p", first), ElementsAre("kept", "duplicate", "kept"));
  EXPECT_THAT(Reasons(exact, "p", second), ElementsAre("duplicate", "kept"));
  EXPECT_THAT(Reasons(exact, "another prompt", second), ElementsAre("kept", "kept"));

  v1::RejectionSamplingConfig config = Config();
  config.set_deduplicate("normalized");
  SampleSelector normalized(config);
  EXPECT_THAT(Reasons(normalized, "p", first), ElementsAre("kept", "duplicate", "duplicate"));
  config.set_deduplicate("none");
  SampleSelector none(config);
  EXPECT_THAT(Reasons(none, "p", first), ElementsAre("kept", "kept", "kept"));
}

TEST(SampleSelectionTest, TheBestOfAPromptAreKeptAndAllThatPassedCount) {
  v1::RejectionSamplingConfig config = Config();
  config.set_keep_per_prompt(2);
  v1::Group group;
  AddSample(group, "a", 1, 9);
  AddSample(group, "b", 1, 3).set_reward(2);
  AddSample(group, "c", 1, 5);
  AddSample(group, "d", 1, 4);
  SampleSelector by_index(config);
  EXPECT_THAT(Reasons(by_index, "p", group),
              ElementsAre("kept", "kept", "not_among_best", "not_among_best"));
  config.set_ties("shortest");
  SampleSelector by_length(config);
  const std::vector<SampleVerdict> verdicts = by_length.Judge("p", group);
  EXPECT_TRUE(verdicts[1].kept() && verdicts[3].kept());
  EXPECT_TRUE(verdicts[0].passed && verdicts[2].passed);
  v1::Group again;
  AddSample(again, "e", 1);
  EXPECT_THAT(Reasons(by_length, "p", again), ElementsAre("not_among_best"));
}

// A process that goes on after a kill, given the kept rows back, decides as the one that did not
// stop.
TEST(SampleSelectionTest, RememberingKeptRowsIsAsGoodAsHavingGoneOn) {
  v1::RejectionSamplingConfig config = Config();
  config.set_keep_per_prompt(3);
  Rng rng(7, 0, RngPurpose::kTest, 0, 0);
  SampleSelector whole(config);
  std::vector<std::pair<std::string, std::string>> kept;
  for (int round = 0; round < 200; ++round) {
    const std::string prompt = absl::StrCat("p", rng.NextBelow(9));
    v1::Group group;
    for (int i = 0; i < 4; ++i) {
      AddSample(group, absl::StrCat("t", rng.NextBelow(6)), static_cast<double>(rng.NextBelow(2)));
    }
    SampleSelector resumed(config);
    for (const auto& [old_prompt, text] : kept) resumed.Remember(old_prompt, text);
    const std::vector<std::string> expected = Reasons(whole, prompt, group);
    EXPECT_EQ(Reasons(resumed, prompt, group), expected) << "round " << round;
    for (int i = 0; i < 4; ++i) {
      if (expected[static_cast<size_t>(i)] == "kept")
        kept.emplace_back(prompt, group.samples(i).text());
    }
  }
  EXPECT_GT(kept.size(), 20u);
}

}  // namespace
}  // namespace r1::learner
