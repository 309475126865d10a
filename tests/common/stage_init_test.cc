#include "common/stage_init.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace r1 {
namespace {

using Kind = StageInit::Kind;

v1::Config Stages(const std::vector<std::pair<std::string, std::string>>& names_and_kinds) {
  v1::Config config;
  for (const auto& [name, kind] : names_and_kinds) {
    v1::StageConfig& stage = *config.add_stage();
    stage.set_name(name);
    stage.set_kind(kind);
  }
  return config;
}

TEST(StageInitTest, WordsHaveTheirMeaning) {
  EXPECT_EQ(ParseStageInit("previous")->kind, Kind::kPrevious);
  EXPECT_EQ(ParseStageInit("base")->kind, Kind::kBase);
  const auto stage = ParseStageInit("stage:rl");
  EXPECT_EQ(stage->kind, Kind::kStage);
  EXPECT_EQ(stage->name, "rl");
  const auto preset = ParseStageInit("preset:qwen_tiny");
  EXPECT_EQ(preset->kind, Kind::kPreset);
  EXPECT_EQ(preset->name, "qwen_tiny");
  EXPECT_EQ(preset->tokenizer, "");
  EXPECT_EQ(ParseStageInit("preset:qwen_tiny:bytes")->tokenizer, "bytes");
  const auto folder = ParseStageInit("models/R1-Distill");
  EXPECT_EQ(folder->kind, Kind::kFolder);
  EXPECT_EQ(folder->name, "models/R1-Distill");
  for (const char* bad : {"", "stage:", "preset:"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseStageInit(bad).status())) << bad;
  }
}

TEST(StageInitTest, TheBaseIsWhatTheLastPretrainStageLeft) {
  const v1::Config config = Stages({{"base", "pretrain"},
                                    {"cold", "sft"},
                                    {"base2", "pretrain"},
                                    {"rl", "grpo"},
                                    {"sft", "sft"}});
  EXPECT_EQ(SourceStage(config, 4, {.kind = Kind::kBase}), 2);
  EXPECT_EQ(SourceStage(config, 2, {.kind = Kind::kBase}), 0);
  EXPECT_EQ(SourceStage(config, 0, {.kind = Kind::kBase}), -1);
  EXPECT_EQ(SourceStage(config, 4, {.kind = Kind::kPrevious}), 3);
  EXPECT_EQ(SourceStage(config, 0, {.kind = Kind::kPrevious}), -1);
  EXPECT_EQ(SourceStage(config, 4, {.kind = Kind::kStage, .name = "cold"}), 1);
  EXPECT_EQ(SourceStage(config, 4, {.kind = Kind::kFolder, .name = "x"}), -1);
  EXPECT_EQ(FindStage(config, "nope"), -1);
}

}  // namespace
}  // namespace r1
