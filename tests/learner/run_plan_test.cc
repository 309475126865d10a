// Plans of runs against sizes of the real thing and against counts by hand.

#include "learner/run_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/config.h"
#include "common/filesystem.h"
#include "common/models/model_costs.h"
#include "learner/optimizer.h"
#include "tests/learner/learner_testing.h"

namespace r1::learner {
namespace {

using testing::HasSubstr;

ModelSpec Published(const std::string& name) {
  const std::string path = "configs/paper/architectures/" + name + ".json";
  return *ParseModelSpec(*RealFileSystem().Read(path, 1 << 20));
}

v1::Config Mini(const std::vector<std::string>& overrides = {}) {
  const auto loaded = LoadConfig("configs/r1_mini.toml", overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->config;
}

double Bytes(const MemoryPlan& plan, const std::string& what) {
  for (const MemoryLine& line : plan.lines) {
    if (line.what == what) return line.bytes;
  }
  ADD_FAILURE() << what;
  return 0;
}

const Phase& FindPhase(const StagePlan& stage, const std::string& what) {
  for (const Phase& phase : stage.phases) {
    if (phase.what == what) return phase;
  }
  ADD_FAILURE() << what;
  return stage.phases[0];
}

// The counts that the publishers' checkpoints have.
TEST(RunPlanTest, PublishedModelsHaveTheirPublishedSizes) {
  EXPECT_EQ(Published("qwen2_5_math_1_5b").parameters(), 1'543'714'304);
  EXPECT_EQ(Published("qwen2_5_math_7b").parameters(), 7'615'616'512);
  EXPECT_EQ(Published("qwen2_5_14b").parameters(), 14'770'033'664);
  EXPECT_EQ(Published("qwen2_5_32b").parameters(), 32'763'876'352);
  EXPECT_EQ(Published("llama3_1_8b").parameters(), 8'030'261'248);
  EXPECT_EQ(Published("llama3_3_70b").parameters(), 70'553'706'496);
  const ModelSpec v3 = Published("deepseek_v3");
  EXPECT_NEAR(static_cast<double>(v3.parameters()), 671e9, 0.5e9);
  EXPECT_NEAR(static_cast<double>(v3.active_parameters()), 37e9, 1e9);
}

TEST(RunPlanTest, MemoryIsThatOfTheRealThing) {
  const ModelSpec spec = *ParseModelSpec(*PresetConfigJson("moe_mini", 32, 0, 1));
  const RunPlan plan = PlanRun(Mini(), spec, *FindAccelerator("cpu"), {});
  const auto policy = RandomPolicy(spec);
  AdamW adamw(spec, policy->parameter_offsets(), policy->parameters().size());
  EXPECT_EQ(Bytes(plan.learner, "master weights, fp32"), policy->parameters().size_bytes());
  EXPECT_EQ(Bytes(plan.learner, "Adam's moments, fp32"),
            adamw.first_moment().size_bytes() + adamw.second_moment().size_bytes());
  EXPECT_TRUE(plan.problems.empty());
}

TEST(RunPlanTest, AStepByHand) {
  const ModelSpec spec = *ParseModelSpec(*PresetConfigJson("qwen_tiny", 32, 0, 1));
  const v1::Config config =
      Mini({"stage.rl.grpo.prompts_per_step=4", "stage.rl.grpo.samples_per_prompt=8",
            "stage.rl.grpo.sequences_per_update=32", "stage.rl.grpo.kl_coef=0", "rollout.workers=2",
            "rollout.running_samples_max=16"});
  const Accelerator device = *FindAccelerator("h200");
  const RunPlan plan = PlanRun(config, spec, device, {.prompt_tokens = 10, .response_tokens = 30});
  const StagePlan& rl = plan.stages.back();
  EXPECT_EQ(rl.tokens, 32 * 40);
  const double product = ProductFlops(spec);
  EXPECT_DOUBLE_EQ(FindPhase(rl, "train").flops,
                   3 * 32 * 40 * (product + AttentionFlops(spec, 20, false)));
  EXPECT_DOUBLE_EQ(FindPhase(rl, "generate").flops,
                   4 * 10 * (product + AttentionFlops(spec, 5, false)) +
                       32 * 30 * (product + AttentionFlops(spec, 25, true)));
  // Both workers read the weights (bf16) at each of 30 steps, and every sample its context.
  const auto weights = static_cast<double>(spec.parameters()), cache = 2.0 * CacheValues(spec);
  EXPECT_DOUBLE_EQ(FindPhase(rl, "generate").bytes, 2 * 30 * weights * 2 + 32 * 30 * 25 * cache);
  EXPECT_EQ(FindPhase(rl, "push weights (network)").seconds, 0);
  const Phase& update = FindPhase(rl, "update weights");
  EXPECT_DOUBLE_EQ(update.seconds, 28 * weights / device.bytes_per_second);
}

// DeepSeek-V3: of attention (61 layers of 187.1M), embeddings and head (1.853B), three dense layers
// (1.189B) and routers (0.106B) are 14.56B, all others of experts.
TEST(RunPlanTest, Fp8ExpertsTakeHalf) {
  const ModelSpec spec = Published("deepseek_v3");
  const Accelerator device = *FindAccelerator("h200");
  const RunPlan bf16 = PlanRun(Mini({"worker.device=cuda"}), spec, device, {});
  const RunPlan fp8 =
      PlanRun(Mini({"worker.device=cuda", "worker.expert_weights=fp8"}), spec, device, {});
  const auto weights = static_cast<double>(spec.parameters());
  EXPECT_EQ(Bytes(bf16.rollout, "weights"), 2 * weights);
  const double saved = Bytes(bf16.rollout, "weights") - Bytes(fp8.rollout, "weights");
  EXPECT_NEAR(saved, (2 - 4224.0 / 4096) * (weights - 14.56e9), 0.02e9);
  EXPECT_LT(FindPhase(fp8.stages.back(), "generate").bytes,
            0.6 * FindPhase(bf16.stages.back(), "generate").bytes);
}

TEST(RunPlanTest, DevicesAreSharedInProportion) {
  const ModelSpec spec = *ParseModelSpec(*PresetConfigJson("moe_tiny", 32, 0, 1));
  const v1::Config config = Mini({"learner.ranks=1", "rollout.workers=3"});
  const RunPlan plan = PlanRun(config, spec, *FindAccelerator("h200"), {.devices = 64});
  EXPECT_EQ(plan.learner.count, 16);
  EXPECT_EQ(plan.rollout.count, 48);
  const RunPlan one = PlanRun(config, spec, *FindAccelerator("h200"), {.devices = 1});
  EXPECT_EQ(one.learner.count, 1);
  EXPECT_EQ(one.rollout.count, 1);
}

TEST(RunPlanTest, WhatDoesNotFitIsSaid) {
  const ModelSpec spec = Published("deepseek_v3");
  const RunPlan plan = PlanRun(Mini(), spec, *FindAccelerator("h200"), {.devices = 512});
  ASSERT_EQ(plan.problems.size(), 2u);
  EXPECT_THAT(plan.problems[0], HasSubstr("a learner rank needs"));
  EXPECT_THAT(plan.problems[0], HasSubstr("which fits"));
  EXPECT_THAT(plan.problems[1], HasSubstr("a rollout worker needs"));
}

TEST(RunPlanTest, AnUnknownAcceleratorIsRefused) {
  const auto found = FindAccelerator("h20");
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("h200, h100"));
}

}  // namespace
}  // namespace r1::learner
