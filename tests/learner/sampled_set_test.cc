// The files of a rejection-sampled set: rows with provenance, pass rates, counts, mixing, and the
// same bytes after any interruption.

#include "learner/sampled_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/json.h"

namespace r1::learner {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kMixed[] =
    "{\"prompt\": \"q\", \"completion\": \"four\", \"category\": \"chat\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, "
    "{\"role\": \"assistant\", \"content\": \"seven77\"}]}\n";

class SampledSetTest : public testing::Test {
 protected:
  SampledSetTest()
      : folder_(JoinPath(testing::TempDir(),
                         testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    R1_CHECK(RealFileSystem().CreateDirectories(folder_).ok());
    R1_CHECK(WriteFileAtomically(RealFileSystem(), MixedPath(), kMixed).ok());
    v1::KeepRuleConfig& rule = *config_.add_keep();
    rule.set_name("total");
    rule.set_min(1);
    rule.set_max(1000);
    config_.set_deduplicate("exact");
    config_.set_category_column("category");
    config_.set_samples_per_prompt(3);
  }

  std::string MixedPath() const { return JoinPath(folder_, "mixed_in.jsonl"); }
  std::string Text(const std::string& name) const {
    return RealFileSystem().Read(JoinPath(folder_, name), 1 << 20).value();
  }
  std::vector<json> Rows(const std::string& name) const {
    std::vector<json> rows;
    const std::vector<std::string> lines = absl::StrSplit(Text(name), '\n', absl::SkipEmpty());
    for (const std::string& line : lines) {
      rows.push_back(ParseJson(line, name).value());
    }
    return rows;
  }

  absl::StatusOr<std::unique_ptr<SampledSet>> Open(const v1::RejectionSamplingState& state) {
    return SampledSet::Open(RealFileSystem(), folder_,
                            {.stage = "collect",
                             .stage_index = 2,
                             .run_seed = 5,
                             .weights_digest = "00ff",
                             .isa = "avx2",
                             .prompt_template = "Q: {prompt}",
                             .init = "stage:rl"},
                            config_, state);
  }

  // Prompt `i` and its three samples, of which i % 4 at most are right.
  static PromptRow Prompt(int i) {
    PromptRow row;
    row.prompt_id = absl::StrCat("id", i);
    row.prompt = absl::StrCat("Q: ", i, "+1=");
    row.answer = absl::StrCat(i + 1);
    row.columns_json = i % 2 == 0 ? R"({"category": "even", "level": 3})" : "{}";
    row.data_begin = 3;
    row.data_end = row.prompt.size();
    return row;
  }
  static v1::Group Samples(int i) {
    v1::Group group;
    group.set_group_id(static_cast<uint64_t>(i));
    for (int s = 0; s < 3; ++s) {
      v1::Sample& sample = *group.add_samples();
      sample.set_sample_index(static_cast<uint32_t>(s));
      sample.set_text(absl::StrCat("<think>", s, "</think>", i));
      sample.add_token_ids(1);
      sample.add_token_ids(2);
      sample.set_finish_reason(v1::FINISH_REASON_STOP);
      sample.set_reward(s < i % 4 ? 1 : 0);
    }
    return group;
  }
  static absl::StatusOr<uint64_t> CountBytes(const std::string& text) { return text.size(); }

  const std::string folder_;
  v1::RejectionSamplingConfig config_;
};

TEST_F(SampledSetTest, RowsCarryProvenanceAndPromptsTheirPassRates) {
  const auto set = Open({});
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_TRUE((*set)->AddGroup(Prompt(2), Samples(2)).ok());
  ASSERT_TRUE((*set)->AddGroup(Prompt(4), Samples(4)).ok());
  ASSERT_TRUE((*set)->Finish(CountBytes).ok());
  const std::vector<json> rows = Rows("collect.jsonl");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].at("prompt"), "2+1=");
  EXPECT_EQ(rows[1].at("completion"), "<think>1</think>2");
  EXPECT_EQ(rows[1].at("answer"), "3");
  EXPECT_EQ(rows[1].at("category"), "even");
  const json& provenance = rows[1].at("provenance");
  EXPECT_EQ(provenance.at("weights"), "00ff");
  EXPECT_EQ(provenance.at("seed"), 5);
  EXPECT_EQ(provenance.at("stage_index"), 2);
  EXPECT_EQ(provenance.at("group_id"), 2);
  EXPECT_EQ(provenance.at("sample_index"), 1);
  EXPECT_EQ(provenance.at("prompt_template"), "Q: {prompt}");
  EXPECT_EQ(provenance.at("reward"), 1.0);
  const std::vector<json> prompts = Rows("collect.prompts.jsonl");
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_DOUBLE_EQ(prompts[0].at("pass_rate").get<double>(), 2.0 / 3);
  EXPECT_EQ(prompts[0].at("level"), 3);
  EXPECT_EQ(prompts[1].at("pass_rate"), 0.0);
}

TEST_F(SampledSetTest, ReportCountsBySourceAndCategory) {
  config_.set_keep_per_prompt(1);
  v1::MixSourceConfig& source = *config_.add_mix();
  source.set_name("written");
  source.set_path(MixedPath());
  source.set_weight(1.5);
  const auto set = Open({});
  ASSERT_TRUE(set.ok()) << set.status();
  for (int i = 0; i < 8; ++i) ASSERT_TRUE((*set)->AddGroup(Prompt(i), Samples(i)).ok());
  ASSERT_TRUE((*set)->Finish(CountBytes).ok());
  const json report = ParseJson(Text("collect.report.json"), "report").value();
  // Prompts 0 and 4 have no right sample; the others keep one each: 2, 6 and 1, 3, 5, 7.
  const json expected = {{{"source", "sampled"},
                          {"category", ""},
                          {"prompts", 4},
                          {"samples", 12},
                          {"passed", 8},
                          {"kept", 4},
                          {"tokens_mean", 2.0}},
                         {{"source", "sampled"},
                          {"category", "even"},
                          {"prompts", 4},
                          {"samples", 12},
                          {"passed", 4},
                          {"kept", 2},
                          {"tokens_mean", 2.0}}};
  EXPECT_EQ(report.at("rows").at(0), expected.at(0));
  EXPECT_EQ(report.at("rows").at(1), expected.at(1));
  EXPECT_EQ(report.at("total").at("kept"), 6 + 9);
  EXPECT_EQ(report.at("rejected").at("total"), 12);
  EXPECT_EQ(report.at("rejected").at("not_among_best"), 6);
  // 9 rows of 2: each row at least four times, told apart by their pass.
  const std::vector<json> rows = Rows("collect.jsonl");
  ASSERT_EQ(rows.size(), 15u);
  EXPECT_EQ(rows.back().at("provenance").at("pass"), 4);
  EXPECT_EQ(rows.back().at("provenance").at("source"), "written");
  EXPECT_THAT((*set)->Table(), HasSubstr("written"));
}

TEST_F(SampledSetTest, AnyInterruptionEndsInTheSameBytes) {
  v1::MixSourceConfig& source = *config_.add_mix();
  source.set_name("written");
  source.set_path(MixedPath());
  source.set_weight(0.5);
  const auto run = [&](int from, const v1::RejectionSamplingState& state, int stop_at,
                       v1::RejectionSamplingState* saved) {
    const auto set = Open(state);
    R1_CHECK(set.ok());
    for (int i = from; i < 12; ++i) {
      R1_CHECK((*set)->AddGroup(Prompt(i % 9), Samples(i % 9)).ok());
      if (i == stop_at) R1_CHECK((*set)->Save(*saved).ok());
    }
    R1_CHECK((*set)->Finish(CountBytes).ok());
  };
  v1::RejectionSamplingState unused;
  run(0, {}, -1, &unused);
  const std::vector<std::string> names = {"collect.jsonl", "collect.prompts.jsonl",
                                          "collect.report.json"};
  std::vector<std::string> expected;
  for (const std::string& name : names) expected.push_back(Text(name));
  for (int stop = 0; stop < 12; ++stop) {
    v1::RejectionSamplingState saved;
    run(0, {}, stop, &saved);  // goes on behind the checkpoint, and its files stay
    run(stop + 1, saved, -1, &unused);
    for (size_t i = 0; i < names.size(); ++i) {
      EXPECT_EQ(Text(names[i]), expected[i]) << names[i] << " stopped at " << stop;
    }
  }
}

TEST_F(SampledSetTest, WhatCannotBeMadeIsAnError) {
  v1::RejectionSamplingState state;
  state.set_rows_bytes(100);
  EXPECT_EQ(Open(state).status().code(), absl::StatusCode::kDataLoss);

  auto set = Open({});
  ASSERT_TRUE(set.ok());
  ASSERT_TRUE((*set)->AddGroup(Prompt(0), Samples(0)).ok());
  const absl::Status nothing = (*set)->Finish(CountBytes);
  EXPECT_EQ(nothing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(nothing.message()), HasSubstr("total 3"));

  v1::MixSourceConfig& source = *config_.add_mix();
  source.set_name("bad");
  source.set_path(MixedPath());
  source.set_weight(1);
  R1_CHECK(WriteFileAtomically(RealFileSystem(), MixedPath(), "{\"prompt\": \"q\"}\n").ok());
  set = Open({});
  ASSERT_TRUE(set.ok());
  ASSERT_TRUE((*set)->AddGroup(Prompt(3), Samples(3)).ok());
  EXPECT_THAT(std::string((*set)->Finish(CountBytes).message()),
              HasSubstr("mixed_in.jsonl:1: completion"));
}

}  // namespace
}  // namespace r1::learner
