// Loading a config: what is accepted, the exact line of every kind of problem, overrides, and the
// way back to text. Systematic damage to every field is in config_mutation_test.cc.

#include "common/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/config_foreign_names.h"
#include "common/config_schema.h"
#include "common/filesystem.h"
#include "common/schedule.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The example of the design page.
constexpr char kExample[] =
    R"(# R1 in miniature on 2 CPU cores, about 8 minutes: base, cold start, GRPO.
[run]
seed = 1
[model]
preset = "moe_mini"                 # or path = "…" (a Hugging Face folder)
[rollout]
workers = 2

[[stage]]
name = "base"
kind = "pretrain"
pretrain.task = "chain"

[[stage]]
name = "cold_start"
kind = "sft"
sft.task = "chain"
sft.demonstrations = 100

[[stage]]
name = "rl"
kind = "grpo"
grpo.prompts_per_step = 64
grpo.samples_per_prompt = 8
grpo.sequences_per_update = 512
grpo.kl_coef = 0.0
optimizer.lr = [{from_update = 0, value = 6e-4}, {from_update = 180, value = 6e-5}]
[[stage.reward]]
name = "exact_match"
weight = 0.9
[[stage.reward]]
name = "format"
weight = 0.1
)";

// The shortest config that loads; its only stage is on lines 1 to 3.
constexpr char kShort[] = "[[stage]]\nname = \"s\"\nkind = \"sft\"\n";
// The same for grpo: lines 1 to 5.
constexpr char kShortGrpo[] =
    "[[stage]]\nname = \"s\"\nkind = \"grpo\"\n[[stage.reward]]\nname = \"r\"\n";

v1::Config Loaded(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfigText("c.toml", text, overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return loaded.ok() ? loaded->config : v1::Config();
}

std::vector<std::string> Problems(const std::string& text,
                                  const std::vector<std::string>& overrides = {}) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfigText("c.toml", text, overrides);
  if (loaded.ok()) return {};
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  return absl::StrSplit(loaded.status().message(), '\n');
}

std::string Bits(const v1::Config& config) {
  std::string bits;
  EXPECT_TRUE(config.SerializeToString(&bits));
  return bits;
}

TEST(ConfigTest, ExampleOfTheDesignLoads) {
  const v1::Config config = Loaded(kExample);
  ASSERT_EQ(config.stage_size(), 3);
  EXPECT_EQ(config.run().seed(), 1u);
  EXPECT_EQ(config.run().dir(), "runs/c-s1");
  EXPECT_EQ(config.model().preset(), "moe_mini");
  EXPECT_EQ(config.stage(1).sft().demonstrations(), 100);
  const v1::StageConfig& rl = config.stage(2);
  EXPECT_EQ(rl.grpo().prompts_per_step(), 64);
  ASSERT_EQ(rl.grpo().kl_coef().points_size(), 1);
  EXPECT_EQ(rl.grpo().kl_coef().points(0).value(), 0.0);
  ASSERT_EQ(rl.optimizer().lr().points_size(), 2);
  EXPECT_EQ(rl.optimizer().lr().points(1).from_update(), 180);
  EXPECT_EQ(rl.optimizer().lr().points(1).value(), 6e-5);
  ASSERT_EQ(rl.reward_size(), 2);
  EXPECT_EQ(ScheduleAt(rl.reward(0).weight(), 0), 0.9);
}

TEST(ConfigTest, EveryDefaultIsFilledIn) {
  const v1::Config config = Loaded(kExample);
  EXPECT_EQ(config.learner().address(), "127.0.0.1:0");
  EXPECT_EQ(config.samples().bytes_max(), 67108864);
  EXPECT_EQ(config.optimizer().lr().points(0).value(), 3e-6);
  EXPECT_EQ(config.stage(0).pretrain().documents(), 60000);
  EXPECT_EQ(config.stage(0).init(), "previous");
  EXPECT_EQ(config.stage(0).optimizer().lr().points(0).value(), 3e-6);
  EXPECT_EQ(config.stage(2).grpo().reference_refresh_updates(), 400);
  EXPECT_TRUE(config.stage(2).grpo().normalize_std());
  EXPECT_EQ(config.stage(2).grpo().loss_aggregation(), "seq-mean-token-mean");
  EXPECT_EQ(config.stage(2).data().prompt_template(), "{prompt}");
}

TEST(ConfigTest, OnlyTheSectionOfTheKindIsThere) {
  const v1::Config config = Loaded(kExample);
  EXPECT_TRUE(config.stage(0).has_pretrain());
  EXPECT_FALSE(config.stage(0).has_grpo());
  EXPECT_TRUE(config.stage(1).has_sft());
  EXPECT_FALSE(config.stage(1).has_pretrain());
  EXPECT_TRUE(config.stage(2).has_grpo());
  EXPECT_FALSE(config.stage(2).has_sft());
}

TEST(ConfigTest, StageOverridesWholeFieldsOfTheSectionsAtTheTop) {
  // The section at the top counts wherever it stands.
  const v1::Config config =
      Loaded(absl::StrCat(kShort,
                          "optimizer.beta1 = 0.8\n[optimizer]\nlr = [{from_update = 0, value = "
                          "1e-3}, {from_update = 9, value = 1e-4}]\nbeta2 = 0.99\n"));
  EXPECT_EQ(config.stage(0).optimizer().beta1(), 0.8);
  EXPECT_EQ(config.optimizer().beta1(), 0.9);
  EXPECT_EQ(config.stage(0).optimizer().beta2(), 0.99);
  EXPECT_EQ(config.stage(0).optimizer().lr().points_size(), 2);
}

TEST(ConfigTest, ListOfFilesInAStageReplacesTheOneAtTheTop) {
  const v1::Config config = Loaded(absl::StrCat(
      kShort, "data.train_files = [\"CMakeLists.txt\"]\n[data]\ntrain_files = [\"LICENSE\"]\n"));
  EXPECT_THAT(config.data().train_files(), ElementsAre("LICENSE"));
  EXPECT_THAT(config.stage(0).data().train_files(), ElementsAre("CMakeLists.txt"));
}

TEST(ConfigTest, PositionsOfWrittenFieldsAreKept) {
  const absl::StatusOr<LoadedConfig> loaded =
      LoadConfigText("c.toml", kExample, {"stage.rl.grpo.steps=3"});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->Where("stage.rl.reward.format.name").text, "c.toml:32:1");
  EXPECT_EQ(loaded->Where("stage.rl.grpo.steps").text, "--set 'stage.rl.grpo.steps=3'");
  // Not written: the section around it, here first named by grpo.prompts_per_step.
  EXPECT_EQ(loaded->Where("stage.rl.grpo.clip_low").text, "c.toml:23:1");
  EXPECT_EQ(loaded->Where("status.address").text, "c.toml:1:1");
  EXPECT_TRUE(loaded->IsExplicit("run.seed"));
  EXPECT_FALSE(loaded->IsExplicit("run.dir"));
}

// One kind of problem: a text and the one line that it must give.
struct ProblemCase {
  std::string text;
  std::string problem;
};

void ExpectProblems(const std::vector<ProblemCase>& cases) {
  for (const ProblemCase& problem_case : cases) {
    EXPECT_THAT(Problems(problem_case.text), ElementsAre(problem_case.problem))
        << problem_case.text;
  }
}

TEST(ConfigProblemTest, UnknownKeys) {
  const std::string text = kShort;
  ExpectProblems({
      {text + "[run]\nsed = 2\n",
       "c.toml:5:1: run.sed: expected a key of run, found unknown \"sed\"; did you mean \"seed\"?"},
      {text + "[optimiser]\nlr = 1e-3\n",
       "c.toml:4:2: optimiser: expected a key at the top of the file, found unknown \"optimiser\"; "
       "did you mean \"optimizer\"?"},
      {text + "[run]\nzzzzzzzz = 2\n",
       "c.toml:5:1: run.zzzzzzzz: expected a key of run, found unknown \"zzzzzzzz\"; known are "
       "seed, dir"},
      {text + "  sft.demonstratoins = 3\n",
       "c.toml:4:7: stage.s.sft.demonstratoins: expected a key of stage.s.sft, found unknown "
       "\"demonstratoins\"; did you mean \"demonstrations\"?"},
  });
}

TEST(ConfigProblemTest, KeysOfAnotherSectionAreSuggestedWithTheirPath) {
  const std::string text = kShortGrpo;
  ExpectProblems({
      {"kl_coef = 0\n" + text,
       "c.toml:1:1: kl_coef: expected a key at the top of the file, found unknown \"kl_coef\"; did "
       "you mean \"stage.NAME.grpo.kl_coef\"?"},
      {absl::StrReplaceAll(text, {{"\"grpo\"", "\"grpo\"\nsequences_per_update = 512"}}),
       "c.toml:4:1: stage.s.sequences_per_update: expected a key of stage.s, found unknown "
       "\"sequences_per_update\"; did you mean \"stage.s.grpo.sequences_per_update\"?"},
      {text + "[sampling]\nlr = 1\n",
       "c.toml:7:1: sampling.lr: expected a key of sampling, found unknown \"lr\"; did you mean "
       "\"optimizer.lr\"?"},
      {text + "[grpo]\nsteps = 1\n",
       "c.toml:6:2: grpo: expected a key at the top of the file, found unknown \"grpo\"; did you "
       "mean \"stage.NAME.grpo\"?"},
  });
}

TEST(ConfigProblemTest, NamesOfOtherFrameworksAreTranslated) {
  const std::string text = kShortGrpo;
  ExpectProblems({
      {text + "[optimizer]\nlearning_rate = 1e-3\n",
       "c.toml:7:1: optimizer.learning_rate: expected a key of optimizer, found unknown "
       "\"learning_rate\"; did you mean \"optimizer.lr\"?"},
      {absl::StrReplaceAll(text, {{"\"grpo\"", "\"grpo\"\ngrpo.num_generations = 8"}}),
       "c.toml:4:6: stage.s.grpo.num_generations: expected a key of stage.s.grpo, found unknown "
       "\"num_generations\"; did you mean \"stage.s.grpo.samples_per_prompt\"?"},
      {"save_freq = 3\n" + text,
       "c.toml:1:1: save_freq: expected a key at the top of the file, found unknown \"save_freq\"; "
       "did you mean \"checkpoint.every_steps\"?"},
  });
}

TEST(ConfigProblemTest, EveryTranslationNamesAKeyOfOurs) {
  for (const auto& [foreign, ours] : ForeignConfigNames()) {
    const std::vector<std::string> parts = absl::StrSplit(ours, '.');
    ASSERT_EQ(parts.size(), 2u) << ours;
    const auto* section = v1::Config::descriptor()->FindFieldByName(parts[0]);
    if (section == nullptr) section = v1::StageConfig::descriptor()->FindFieldByName(parts[0]);
    ASSERT_NE(section, nullptr) << ours;
    EXPECT_NE(section->message_type()->FindFieldByName(parts[1]), nullptr) << ours;
    const std::string suggestion = SuggestKey({foreign, v1::Config::descriptor(), "", ""});
    EXPECT_TRUE(absl::EndsWith(suggestion, absl::StrCat(ours, "\"?"))) << foreign << suggestion;
  }
}

TEST(ConfigProblemTest, WrongTypesAndRanges) {
  const std::string text = kShort;
  ExpectProblems({
      {text + "[run]\nseed = \"one\"\n",
       "c.toml:5:8: run.seed: expected an integer from 0 to 9007199254740991, found \"one\""},
      {text + "[run]\nseed = 1.0\n",
       "c.toml:5:8: run.seed: expected an integer from 0 to 9007199254740991, found 1.0"},
      {text + "[run]\nseed = -1\n",
       "c.toml:5:8: run.seed: expected an integer from 0 to 9007199254740991, found -1"},
      {text + "[run]\nseed = 9007199254740993\n",
       "c.toml:5:8: run.seed: expected an integer from 0 to 9007199254740991, found "
       "9007199254740993"},
      {text + "[run]\ndir = 7\n",
       "c.toml:5:7: run.dir: expected a string, found 7; put it in quotes"},
      {text + "[run]\ndir = 1979-05-27\n",
       "c.toml:5:7: run.dir: expected a string, found the date 1979-05-27"},
      {text + "[run]\ndir = [\"x\"]\n", "c.toml:5:7: run.dir: expected a string, found a list"},
      {text + "[learner]\nactivation_recompute = 1\n",
       "c.toml:5:24: learner.activation_recompute: expected true or false, found 1"},
      {text + "[optimizer]\neps = 0\n",
       "c.toml:5:7: optimizer.eps: expected a number above 0, at most 1, found 0"},
      {text + "[optimizer]\ngrad_clip_norm = nan\n",
       "c.toml:5:18: optimizer.grad_clip_norm: expected a finite number at least 0, found nan"},
      {text + "[data]\ntrain_files = \"a.jsonl\"\n",
       "c.toml:5:15: data.train_files: expected a list of strings, found \"a.jsonl\"; write "
       "[\"a.jsonl\"]"},
      {text + "[data]\ntrain_files = [\"LICENSE\", 3]\n",
       "c.toml:5:27: data.train_files: expected a list of strings, found 3"},
      {text + "optimizer.decay = \"linaer\"\n",
       "c.toml:4:19: stage.s.optimizer.decay: expected one of \"constant\", \"linear\", "
       "\"cosine\", found \"linaer\"; did you mean \"linear\"?"},
  });
}

TEST(ConfigProblemTest, Sections) {
  const std::string text = kShort;
  ExpectProblems({
      {"run = 3\n" + text, "c.toml:1:7: run: expected a section, found 3"},
      {text + "[[run]]\nseed = 3\n",
       "c.toml:4:1: run: expected a section, found a list of sections; write [run] once"},
      {"[stage]\nname = \"s\"\nkind = \"sft\"\n",
       "c.toml:1:1: stage: expected a list of sections, found a section; write [[stage]]"},
      {"stage = [3]\n", "c.toml:1:10: stage[0]: expected a section, found 3"},
      {"stage = []\n", "c.toml:1:9: stage: expected at least one [[stage]], found none"},
      {"", "c.toml:1:1: stage: expected at least one [[stage]], found none"},
      {"# nothing\n[run]\nseed = 1\n",
       "c.toml:1:1: stage: expected at least one [[stage]], found none"},
      {"[[stage]]\nname = \"rl\"\nkind = \"grpo\"\nsft.task = \"chain\"\n[[stage.reward]]\nname = "
       "\"r\"\n",
       "c.toml:4:1: stage.rl.sft: expected no sft settings in a stage of kind \"grpo\", found a "
       "section; move them to a stage of kind \"sft\""},
  });
}

TEST(ConfigProblemTest, NamesAndRequiredFields) {
  ExpectProblems({
      {"[[stage]]\nname = \"s\"\n",
       "c.toml:1:1: stage.s.kind: expected one of \"pretrain\", \"sft\", \"grpo\", "
       "\"rejection_sampling\", \"distill\", found nothing; "
       "it has no default"},
      {"[[stage]]\nkind = \"sft\"\n",
       "c.toml:1:1: stage[0].name: expected a string, found nothing; it has no default"},
      {"[[stage]]\nname = \"s\"\nkind = \"gropo\"\ngrpo.steps = 3\n",
       "c.toml:3:8: stage.s.kind: expected one of \"pretrain\", \"sft\", \"grpo\", "
       "\"rejection_sampling\", \"distill\", found "
       "\"gropo\"; did you mean \"grpo\"?"},
      {"[[stage]]\nname = \"a.b\"\nkind = \"sft\"\n",
       "c.toml:2:8: stage.a.b.name: expected 1 to 64 letters, digits, _ or -, found \"a.b\""},
      {"[[stage]]\nname = \"\"\nkind = \"sft\"\n",
       "c.toml:2:8: stage[0].name: expected 1 to 64 letters, digits, _ or -, found \"\""},
      {absl::StrCat(kShort, kShort),
       "c.toml:5:8: stage.s.name: expected a name of its own, found that of the [[stage]] at "
       "c.toml:1:1"},
      {absl::StrCat(kShortGrpo,
                    "[[stage.reward]]\nname = \"overlong\"\nformat.partial_credit = "
                    "true\n"),
       "c.toml:8:1: stage.s.reward.overlong.format: expected no format settings in the reward "
       "\"overlong\", found a section; move them to the reward \"format\""},
      {absl::StrCat(kShortGrpo,
                    "[[stage.reward]]\nname = \"overlong\"\n"
                    "overlong.max_completion_len = 100\n"
                    "overlong.soft_punish_cach = 20\n"),
       "c.toml:9:10: stage.s.reward.overlong.overlong.soft_punish_cach: expected a key of "
       "stage.s.reward.overlong.overlong, found unknown \"soft_punish_cach\"; did you mean "
       "\"soft_punish_cache\"?"},
      {absl::StrCat(kShortGrpo, "[[stage.reward]]\nname = \"r\"\n"),
       "c.toml:7:8: stage.s.reward.r.name: expected a name of its own, found that of the "
       "[[stage.s.reward]] at c.toml:4:1"},
  });
}

TEST(ConfigProblemTest, Schedules) {
  const std::string text = absl::StrCat(kShort, "optimizer.lr = ");
  ExpectProblems({
      {text + "\"fast\"\n",
       "c.toml:4:16: stage.s.optimizer.lr: expected a number from 0 to 10 or a list of "
       "{from_update, value}, found \"fast\""},
      {text + "[]\n",
       "c.toml:4:16: stage.s.optimizer.lr: expected a number from 0 to 10 or a list of "
       "{from_update, value}, found a list"},
      {text + "11\n",
       "c.toml:4:16: stage.s.optimizer.lr: expected a number from 0 to 10 or a list of "
       "{from_update, value}, found 11"},
      {text + "[{from_update = 0, value = -1}]\n",
       "c.toml:4:43: stage.s.optimizer.lr: expected a number from 0 to 10 or a list of "
       "{from_update, value}, found -1"},
      {text + "[{from_update = 5, value = 1}]\n",
       "c.toml:4:32: stage.s.optimizer.lr[0].from_update: expected 0 at the first point, found 5"},
      {text + "[{from_update = 0, value = 1}, {from_update = 0, value = 2}]\n",
       "c.toml:4:62: stage.s.optimizer.lr[1].from_update: expected more than the 0 of the point "
       "before, found 0"},
      {text + "[{value = 1}]\n",
       "c.toml:4:17: stage.s.optimizer.lr[0].from_update: expected an integer from 0 to "
       "9007199254740991, found nothing; it has no default"},
      {text + "[{from_update = 0, valeu = 1, value = 1}]\n",
       "c.toml:4:35: stage.s.optimizer.lr[0].valeu: expected a key of stage.s.optimizer.lr[0], "
       "found unknown \"valeu\"; did you mean \"value\"?"},
      {text + "[{from_update = 0, value = \"x\"}]\n",
       "c.toml:4:43: stage.s.optimizer.lr[0].value: expected a finite number, found \"x\""},
      {text + "[1e-3]\n",
       "c.toml:4:17: stage.s.optimizer.lr: expected a number from 0 to 10 or a list of "
       "{from_update, value}, found 0.001"},
  });
}

TEST(ConfigProblemTest, SyntaxErrorsHaveAPosition) {
  EXPECT_THAT(Problems("[run]\nseed = = 1\n"), ElementsAre(HasSubstr("c.toml:2:8: TOML syntax: ")));
  EXPECT_THAT(Problems("[run]\nseed = 1\nseed = 2\n"), ElementsAre(HasSubstr("c.toml:3:")));
  EXPECT_THAT(Problems("\xff\xfe"), ElementsAre(HasSubstr("c.toml:1:1: TOML syntax: ")));
}

// UTF-8 of a code point below U+0800.
std::string Utf8(int code_point) {
  return {static_cast<char>(0xC0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3F))};
}

// The parser's table of white space has a hole here (see common/CMakeLists.txt).
TEST(ConfigProblemTest, LettersBeyondAsciiAreNoWhiteSpace) {
  for (int code_point = 0xA1; code_point <= 0x4FF; ++code_point) {
    const std::string letter = Utf8(code_point);
    ASSERT_THAT(Problems(absl::StrCat(letter, " = 1\n", kShort)),
                ElementsAre(HasSubstr("c.toml:1:1: TOML syntax: ")))
        << code_point;
    ASSERT_THAT(Problems(absl::StrCat(kShort, "init = \"model\" ", letter)),
                ElementsAre(HasSubstr("c.toml:4:16: TOML")))
        << code_point;
    const std::string marker =
        absl::StrCat("data.answer_marker = \"\"\"x\\\n  ", letter, "\"\"\"\n");
    ASSERT_EQ(Loaded(absl::StrCat(kShort, marker)).stage(0).data().answer_marker(),
              absl::StrCat("x", letter));
  }
}

TEST(ConfigProblemTest, Contradictions) {
  const std::string grpo = absl::StrReplaceAll(
      kShortGrpo, {{"[[stage.reward]]", "grpo.prompts_per_step = 10\n[[stage.reward]]"}});
  ExpectProblems({
      {absl::StrReplaceAll(grpo, {{"= 10\n", "= 10\ngrpo.sequences_per_update = 30\n"}}),
       "c.toml:5:6: stage.s.grpo.sequences_per_update: expected a divisor of prompts_per_step * "
       "samples_per_prompt = 10 * 16 = 160 sequences, found 30; the nearest are 20 and 32"},
      {grpo,
       "c.toml:4:1: stage.s.grpo.sequences_per_update: expected a divisor of prompts_per_step * "
       "samples_per_prompt = 10 * 16 = 160 sequences, found 512; the largest is 160"},
      {"[[stage]]\nname = \"rl\"\nkind = \"grpo\"\n",
       "c.toml:1:1: stage.rl: expected at least one [[stage.reward]] in a stage of kind \"grpo\" "
       "or "
       "\"rejection_sampling\", found none"},
      {absl::StrCat(kShortGrpo, "weight = 0\n"),
       "c.toml:4:9: stage.s.reward: expected a reward with a weight other than 0, found none"},
      {absl::StrCat(kShortGrpo,
                    "[[stage.reward]]\nname = \"overlong\"\n"
                    "overlong.max_completion_len = 100\n"),
       "c.toml:8:1: stage.s.reward.overlong.overlong.soft_punish_cache: expected at most "
       "max_completion_len = 100, found 4096"},
      {absl::StrCat(kShortGrpo, "[[stage.reward]]\nname = \"j\"\nplugin.attempts = 3\n"),
       "c.toml:8:1: stage.s.reward.j.plugin: expected one of python, command, library and address, "
       "found 0 of them"},
      {absl::StrCat(kShortGrpo,
                    "[[stage.reward]]\nname = \"j\"\nplugin.python = \"a.py:f\"\n"
                    "plugin.config_json = \"[1]\"\n"),
       "c.toml:9:8: stage.s.reward.j.plugin.config_json: expected a JSON object, found an array of "
       "1 elements"},
      {absl::StrCat(kShort, "[[stage.reward]]\nname = \"r\"\n"),
       "c.toml:4:9: stage.s.reward: expected rewards in stages of kind \"grpo\" and "
       "\"rejection_sampling\" only, found 1 in "
       "one of kind \"sft\""},
      {absl::StrCat(kShortGrpo, "[sampling]\ntemperature = 0\n"),
       "c.toml:7:1: sampling.temperature: expected above 0 for the grpo stage stage.s, found 0; "
       "greedy samples of a prompt are all equal and teach nothing"},
      {absl::StrCat(kShort, "sft.stop_accuracy_low = 0.6\nsft.stop_accuracy_high = 0.4\n"),
       "c.toml:4:5: stage.s.sft.stop_accuracy_low: expected at most stop_accuracy_high = 0.4, "
       "found 0.6"},
      {absl::StrCat(kShort, "[model]\npath = \"tests\"\npreset = \"moe_mini\"\n"),
       "c.toml:6:1: model.preset: expected nothing beside model.path, which brings its own, found "
       "a value; remove model.preset or model.path"},
      {absl::StrCat(kShort, "[model]\npath = \"no/such\"\n"),
       "c.toml:5:1: model.path: expected a folder with config.json and *.safetensors, found no "
       "\"no/such\" (relative to the current folder)"},
      {absl::StrCat(kShort, "data.train_files = [\"no/such.jsonl\"]\n"),
       "c.toml:4:6: stage.s.data.train_files: expected an existing file, found no "
       "\"no/such.jsonl\" (relative to the current folder)"},
      {absl::StrCat(kShort, "[data]\neval_files = [\"LICENSE\"]\n"),
       "c.toml:5:1: data.eval_files: expected train_files beside eval_files, found none; without "
       "them the task's own prompts are trained on and held out"},
      {absl::StrCat(kShort, "[data]\nprompt_template = \"{promt}\"\n"),
       "c.toml:5:1: data.prompt_template: expected {prompt} where the row's prompt belongs, found "
       "\"{promt}\""},
  });
}

TEST(ConfigProblemTest, DevicesAreNamed) {
  for (const std::string good : {"auto", "cpu", "cuda", "cuda:0", "cuda:7"}) {
    const std::string set = absl::StrCat("device = \"", good, "\"\n");
    EXPECT_THAT(Problems(absl::StrCat(kShort, "[worker]\n", set, "[learner]\n", set)), IsEmpty())
        << good;
  }
  for (const std::string bad : {"", "gpu", "cuda:", "cuda:-1", "cuda:64", "cuda:1x", "CPU"}) {
    EXPECT_THAT(Problems(absl::StrCat(kShort, "[learner]\ndevice = \"", bad, "\"\n")),
                ElementsAre(HasSubstr("c.toml:5:1: learner.device: expected cpu, cuda, cuda:0 to "
                                      "cuda:63 or auto, found \"")))
        << bad;
  }
  EXPECT_THAT(Problems(absl::StrCat(kShort, "[learner]\ndevice = \"cuda\"\nranks = 2\n")),
              ElementsAre(HasSubstr("learner.ranks: expected 1 with learner.device = \"cuda\"")));
  const std::string fp8 = absl::StrCat(kShort, "[worker]\nexpert_weights = \"fp8\"\n");
  EXPECT_THAT(Problems(fp8), ElementsAre("c.toml:5:1: worker.expert_weights: expected bf16 with "
                                         "worker.device = \"cpu\", found fp8"));
  EXPECT_THAT(Problems(absl::StrCat(fp8, "device = \"auto\"\n")), IsEmpty());
}

TEST(ConfigProblemTest, OnlyLoopbackAddresses) {
  for (const std::string good : {"127.0.0.1:0", "127.1.2.3:65535", "localhost:8080", "[::1]:80"}) {
    EXPECT_THAT(Problems(absl::StrCat(kShort, "[status]\naddress = \"", good, "\"\n")), IsEmpty())
        << good;
  }
  for (const std::string bad :
       {"0.0.0.0:80", "10.0.0.7:80", "[::]:80", "127.example.org:80", "127.0.0.1.1:80", ":80"}) {
    EXPECT_THAT(Problems(absl::StrCat(kShort, "[learner]\naddress = \"", bad, "\"\n")),
                ElementsAre(HasSubstr(
                    "c.toml:5:1: learner.address: permission denied: expected a loopback address")))
        << bad;
  }
  for (const std::string bad :
       {"localhost", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", ""}) {
    EXPECT_THAT(Problems(absl::StrCat(kShort, "[learner]\naddress = \"", bad, "\"\n")),
                ElementsAre(HasSubstr("c.toml:5:1: learner.address: expected HOST:PORT")))
        << bad;
  }
}

TEST(ConfigProblemTest, AllProblemsInOnePassInTheOrderOfTheFile) {
  const std::string text =
      "[run]\nsed = 1\n[rollout]\nworkers = -1\n[[stage]]\nname = \"rl\"\nkind = "
      "\"grpo\"\ngrpo.steps = \"many\"\n";
  EXPECT_THAT(
      Problems(text, {"run.seed=x", "learner.rank=2"}),
      ElementsAre(HasSubstr("c.toml:2:1: run.sed:"), HasSubstr("c.toml:4:11: rollout.workers:"),
                  HasSubstr("c.toml:8:14: stage.rl.grpo.steps:"),
                  HasSubstr("--set 'run.seed=x': run.seed:"),
                  "--set 'learner.rank=2': learner.rank: expected a key of learner, found unknown "
                  "\"rank\"; did you mean \"ranks\"?"));
}

TEST(ConfigProblemTest, AWrongValueHasNoSecondProblemInItsWake) {
  // samples_per_prompt would be its default, and the arithmetic wrong, through no fault of the
  // user.
  const std::string text = absl::StrCat(
      "[[stage]]\nname = \"s\"\nkind = \"grpo\"\ngrpo.prompts_per_step = "
      "3\ngrpo.sequences_per_update = 21\n",
      "grpo.samples_per_promt = 7\n[[stage.reward]]\nname = \"r\"\n");
  EXPECT_THAT(Problems(text),
              ElementsAre(HasSubstr("c.toml:6:6: stage.s.grpo.samples_per_promt:")));
}

TEST(ConfigProblemTest, ProblemsAreSingleLines) {
  EXPECT_THAT(Problems(absl::StrCat("\"a\\nb\" = 1\n", kShort)),
              ElementsAre(HasSubstr("c.toml:1:1: a\\nb: expected a key")));
}

TEST(ConfigOverrideTest, AddressesFieldsListsAndNamedElements) {
  const v1::Config config = Loaded(
      kExample,
      {"run.seed=7", "stage.rl.grpo.kl_coef=0.001", "stage.rl.reward.format.weight = 0.2",
       "data.train_files=[\"LICENSE\"]", "model.preset=moe_tiny", "run.dir=out/it's here",
       "stage.rl.optimizer.lr=[{from_update=0,value=1}]", "stage.rl.grpo.normalize_std=false"});
  EXPECT_EQ(config.run().seed(), 7u);
  EXPECT_EQ(config.run().dir(), "out/it's here");
  EXPECT_EQ(config.model().preset(), "moe_tiny");
  EXPECT_EQ(config.stage(2).grpo().kl_coef().points(0).value(), 0.001);
  EXPECT_EQ(ScheduleAt(config.stage(2).reward(1).weight(), 0), 0.2);
  EXPECT_EQ(config.stage(2).optimizer().lr().points_size(), 1);
  EXPECT_FALSE(config.stage(2).grpo().normalize_std());
  EXPECT_THAT(config.stage(0).data().train_files(), ElementsAre("LICENSE"));
}

TEST(ConfigOverrideTest, LastOneWins) {
  EXPECT_EQ(Loaded(kExample, {"run.seed=7", "run.seed=8"}).run().seed(), 8u);
}

TEST(ConfigOverrideTest, ReplacesAWholeListOrSection) {
  const v1::Config config = Loaded(kExample, {"stage.rl.reward=[{name=\"exact_match\"}]"});
  ASSERT_EQ(config.stage(2).reward_size(), 1);
  EXPECT_EQ(ScheduleAt(config.stage(2).reward(0).weight(), 0), 1);
}

TEST(ConfigOverrideTest, ProblemsNameTheOverride) {
  const struct {
    std::string text;
    std::string problem;
  } cases[] = {
      {"stage.lr.grpo.steps=3",
       "--set 'stage.lr.grpo.steps=3': stage: expected the name of a [[stage]] (base, cold_start, "
       "rl), found \"lr\"; did you mean \"rl\"?"},
      {"stage.rl.reward.math.weight=1",
       "--set 'stage.rl.reward.math.weight=1': stage.rl.reward: expected the name of a "
       "[[stage.rl.reward]] (exact_match, format), found \"math\""},
      {"stage.rl.grpo.kl_coef=high",
       "--set 'stage.rl.grpo.kl_coef=high': stage.rl.grpo.kl_coef: expected a number from 0 to 100 "
       "or a list of {from_update, value}, found \"high\""},
      {"stage.rl.grpo.kl_coeff=0",
       "--set 'stage.rl.grpo.kl_coeff=0': stage.rl.grpo.kl_coeff: expected a key of stage.rl.grpo, "
       "found unknown \"kl_coeff\"; did you mean \"kl_coef\"?"},
      {"run.seed", "--set 'run.seed': expected KEY=VALUE, found no \"=\""},
      {"=3", "--set '=3': expected a dotted key, found \"\""},
      {"run..seed=3", "--set 'run..seed=3': expected a dotted key, found \"run..seed\""},
      {"run.seed.x=3", "--set 'run.seed.x=3': run.seed: expected a section, found 1"},
      {"run.dir=\"x", "--set 'run.dir=\"x': expected KEY=VALUE with a TOML value, found \"\\\"x\""},
      {"run.seed=", "--set 'run.seed=': expected KEY=VALUE with a TOML value, found \"\""},
      {"learner.address=0.0.0.0:1",
       "--set 'learner.address=0.0.0.0:1': learner.address: permission denied: expected a loopback "
       "address (127.x.x.x, localhost or [::1]), found \"0.0.0.0:1\"; connections are not "
       "encrypted yet, so no other machine may reach them"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(Problems(kExample, {test.text}), ElementsAre(test.problem)) << test.text;
  }
}

TEST(ConfigOverrideTest, NoStageToAddress) {
  EXPECT_THAT(
      Problems("", {"stage.rl.grpo.steps=3"}),
      ElementsAre("--set 'stage.rl.grpo.steps=3': stage: expected a list of sections, found a "
                  "section; an override changes a [[stage]] by its name, and the file has none"));
}

TEST(ConfigTextTest, ResolvedConfigLoadsAsTheSameBits) {
  const v1::Config config = Loaded(
      kExample,
      {"stage.rl.grpo.clip_low=0.1", "stage.rl.sampling.temperature=0.30000000000000004",
       "optimizer.eps=4.9406564584124654e-324", "data.prompt_template='a \"{prompt}\"\\ é \t'",
       "data.answer_marker=\"#### \\u0001\\r\\n\"", "run.seed=9007199254740991"});
  const std::string toml = ConfigToToml(config);
  const absl::StatusOr<LoadedConfig> again = LoadConfigText("other.toml", toml, {});
  ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << toml;
  EXPECT_EQ(Bits(again->config), Bits(config));
  EXPECT_EQ(ConfigToToml(again->config), toml);
}

TEST(ConfigTextTest, ModelFolderReplacesPresetAndTokenizer) {
  const v1::Config config = Loaded(kShort, {"model.path=tests"});
  EXPECT_EQ(config.model().preset(), "");
  EXPECT_EQ(config.model().tokenizer(), "");
  EXPECT_EQ(Bits(Loaded(ConfigToToml(config))), Bits(config));
}

TEST(ConfigTextTest, NumbersAreShortAndExact) {
  for (const auto& [value, text] :
       std::vector<std::pair<double, std::string>>{{0, "0.0"},
                                                   {1, "1.0"},
                                                   {3e-6, "3e-6"},
                                                   {1e300, "1e300"},
                                                   {0.1, "0.1"},
                                                   {1e6, "1e6"},
                                                   {123456789, "123456789.0"},
                                                   {1e-10, "1e-10"},
                                                   {-2.5, "-2.5"},
                                                   {0.30000000000000004, "0.30000000000000004"}}) {
    EXPECT_EQ(TomlNumber(value), text);
  }
}

TEST(ConfigTextTest, IsReadable) {
  const std::string toml = ConfigToToml(Loaded(kExample));
  EXPECT_THAT(
      toml,
      HasSubstr("\n[run]\nseed = 1\ndir = \"runs/c-s1\"\n\n[model]\npreset = \"moe_mini\"\n"));
  EXPECT_THAT(
      toml,
      HasSubstr(
          "\n[[stage]]\nname = \"rl\"\nkind = \"grpo\"\ninit = \"previous\"\n\n[stage.data]\n"));
  EXPECT_THAT(
      toml,
      HasSubstr("lr = [{from_update = 0, value = 6e-4}, {from_update = 180, value = 6e-5}]\n"));
  EXPECT_THAT(toml, HasSubstr("\n[[stage.reward]]\nname = \"format\"\nweight = 0.1\n"));
}

TEST(ConfigTextTest, ChangedFieldsAreNamed) {
  const v1::Config config = Loaded(kExample);
  EXPECT_THAT(ChangedFields(config, config, true), IsEmpty());
  const v1::Config other =
      Loaded(kExample, {"stage.rl.reward.format.weight=0.2", "rollout.workers=3", "run.dir=x"});
  EXPECT_THAT(ChangedFields(config, other, false),
              ElementsAre("run.dir", "stage.rl.reward.format.weight"));
  EXPECT_THAT(ChangedFields(config, other, true),
              ElementsAre("run.dir", "rollout.workers", "stage.rl.reward.format.weight"));
}

TEST(ConfigTextTest, OrderAndNumberOfNamedElementsAreFields) {
  const v1::Config config = Loaded(kExample);
  v1::Config swapped = config;
  swapped.mutable_stage()->SwapElements(0, 1);
  EXPECT_THAT(ChangedFields(config, swapped, false), ElementsAre("stage"));
  v1::Config fewer = config;
  fewer.mutable_stage(2)->mutable_reward()->RemoveLast();
  EXPECT_THAT(
      ChangedFields(config, fewer, false),
      ElementsAre("stage.rl.reward", "stage.rl.reward.format.name", "stage.rl.reward.format.weight",
                  "stage.rl.reward.format.format.partial_credit"));
  EXPECT_NE(ConfigDigest(config), ConfigDigest(swapped));
  EXPECT_NE(ConfigDigest(config), ConfigDigest(fewer));
}

TEST(ConfigTextTest, DigestCountsWhatDeterminesResults) {
  const std::string digest = ConfigDigest(Loaded(kExample));
  EXPECT_EQ(digest.size(), 64u);
  EXPECT_EQ(digest, ConfigDigest(Loaded(kExample, {"run.dir=elsewhere", "rollout.workers=9",
                                                   "checkpoint.keep=5"})));
  EXPECT_NE(digest, ConfigDigest(Loaded(kExample, {"run.seed=2"})));
  EXPECT_NE(digest, ConfigDigest(Loaded(kExample, {"learner.ranks=2"})));
}

TEST(ConfigSummaryTest, PrintsTheArithmetic) {
  const v1::Config config =
      Loaded(kExample, {"stage.rl.grpo.inner_epochs=2", "stage.rl.grpo.sequences_per_update=128",
                        "stage.rl.grpo.steps=350", "stage.rl.sampling.response_tokens_max=52",
                        "stage.rl.data.prompt_tokens_max=12", "stage.rl.grpo.kl_coef=0.001"});
  EXPECT_EQ(ConfigSummary(config, 418560),
            "run         runs/c-s1, seed 1\n"
            "model       moe_mini, 418,560 parameters\n"
            "learner     1 rank x 2 threads, micro-batches of at most 4,096 tokens\n"
            "            per rank, fp32: parameters 1.6 MiB, gradients 3.2 MiB (one copy a "
            "thread), Adam 3.2 MiB, reference policy 1.6 MiB\n"
            "rollout     2 workers x (1 engine thread + 1 reward thread), at most 512 samples at a "
            "time each\n"
            "            KV cache 512.0 MiB a worker, 1.0 GiB together\n"
            "stage 1/3   base (pretrain)\n"
            "            at most 4,000 updates x 32 sequences = 128,000 sequences\n"
            "stage 2/3   cold_start (sft)\n"
            "            at most 300 updates x 64 sequences = 19,200 sequences\n"
            "stage 3/3   rl (grpo)\n"
            "            a step: 64 prompts x 8 samples = 512 sequences; / 128 sequences an update "
            "x 2 inner epochs = 8 updates\n"
            "            the stage: 350 steps = 2,800 updates, 179,200 sequences sampled\n"
            "            tokens a step: at most 512 x (prompt 12 + response 52) = 32,768\n");
}

// Has every file by name, with nothing in it: what a config names need not be on this machine.
class AllFilesExist : public FileSystem {
 public:
  bool Exists(const std::string&) override { return true; }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string&) override { return No(); }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string&) override {
    return No();
  }
  absl::StatusOr<std::string> Read(const std::string&, uint64_t) override { return No(); }
  absl::StatusOr<uint64_t> Size(const std::string&) override { return No(); }
  absl::StatusOr<std::vector<std::string>> List(const std::string&) override { return No(); }
  absl::Status CreateDirectories(const std::string&) override { return No(); }
  absl::Status Rename(const std::string&, const std::string&) override { return No(); }
  absl::Status RemoveAll(const std::string&) override { return No(); }
  absl::Status Truncate(const std::string&, uint64_t) override { return No(); }
  absl::Status SyncDirectory(const std::string&) override { return No(); }

 private:
  static absl::Status No() { return absl::UnimplementedError("not a real file system"); }
};

TEST(ConfigFileTest, EveryShippedConfigLoads) {
  const absl::StatusOr<std::vector<std::string>> names = RealFileSystem().List("configs");
  ASSERT_TRUE(names.ok()) << names.status();
  int count = 0;
  AllFilesExist files;
  for (const std::string& name : *names) {
    if (!absl::EndsWith(name, ".toml")) continue;
    const std::string path = JoinPath("configs", name);
    const absl::StatusOr<std::string> text = RealFileSystem().Read(path, 1 << 20);
    ASSERT_TRUE(text.ok()) << text.status();
    const absl::Status status = LoadConfigText(path, *text, {}, files).status();
    EXPECT_TRUE(status.ok()) << status.message();
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(ConfigFileTest, MissingFileIsNamed) {
  const absl::StatusOr<LoadedConfig> loaded = LoadConfig("no/such.toml", {});
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("no/such.toml"));
}

}  // namespace
}  // namespace r1
