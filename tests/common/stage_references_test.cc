// What a stage takes from another, in the config: each contradiction is a line that names its
// place.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config.h"

namespace r1 {
namespace {

using testing::HasSubstr;

// Lines 1-3 base, 4-10 collect, 11-13 rl; a test adds a stage from line 14 on.
constexpr char kBefore[] =
    "[[stage]]\nname = \"base\"\nkind = \"pretrain\"\n"
    "[[stage]]\nname = \"collect\"\nkind = \"rejection_sampling\"\n"
    "rejection_sampling.prompts = 8\nrejection_sampling.keep = [{ name = \"total\", min = 1 }]\n"
    "[[stage.reward]]\nname = \"exact_match\"\n"
    "[[stage]]\nname = \"tuned\"\nkind = \"sft\"\n";

std::string Problems(const std::string& stage) {
  const auto loaded = LoadConfigText("c.toml", absl::StrCat(kBefore, "[[stage]]\n", stage), {});
  return loaded.ok() ? "" : std::string(loaded.status().message());
}

TEST(StageReferencesTest, GoodOnesLoad) {
  for (const char* init : {"previous", "base", "stage:base", "stage:collect", "preset:qwen_tiny",
                           "preset:llama_tiny:bytes", "tests"}) {
    EXPECT_EQ(Problems(absl::StrCat("name = \"s\"\nkind = \"sft\"\ninit = \"", init,
                                    "\"\nsft.from_stage = \"collect\"\nsft.epochs = 2\n")),
              "")
        << init;
  }
  EXPECT_EQ(Problems("name = \"d\"\nkind = \"distill\"\ndistill.teacher = \"stage:tuned\"\n"
                     "data.prompts_from_stage = \"collect\"\ndata.order = \"easy_first\"\n"),
            "");
}

TEST(StageReferencesTest, ProblemsNameTheirPlace) {
  const struct {
    std::string stage;
    std::string problem;
  } cases[] = {
      {"name = \"s\"\nkind = \"sft\"\ninit = \"stage:rl\"\n",
       "c.toml:17:1: stage.s.init: expected the name of an earlier stage (base, collect, tuned), "
       "found \"rl\""},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"stage:bse\"\n", "did you mean \"base\"?"},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"stage:s\"\n", "which is this stage"},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"previus\"\n", "did you mean \"previous\"?"},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"model\"\n",
       "c.toml:17:1: stage.s.init: expected \"previous\", \"base\", \"stage:NAME\""},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"stage:\"\n", "expected \"previous\""},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"preset:qwen_tin\"\n", "did you mean \"qwen_tiny\"?"},
      {"name = \"s\"\nkind = \"sft\"\ninit = \"preset:qwen_tiny:words\"\n",
       "expected a tokenizer (chars, bytes), found \"words\""},
      {"name = \"s\"\nkind = \"sft\"\nsft.from_stage = \"base\"\n",
       "c.toml:17:5: stage.s.sft.from_stage: expected the name of an earlier rejection_sampling "
       "stage (collect), found \"base\", which is of kind \"pretrain\""},
      {"name = \"s\"\nkind = \"sft\"\nsft.from_stage = \"later\"\n"
       "[[stage]]\nname = \"later\"\nkind = \"sft\"\n",
       "found \"later\", which comes later"},
      {"name = \"s\"\nkind = \"sft\"\nsft.epochs = 2\nsft.updates_max = 9\n",
       "c.toml:18:5: stage.s.sft.updates_max: expected either epochs or updates_max, found both"},
      {"name = \"s\"\nkind = \"sft\"\nsft.from_stage = \"collect\"\nsft.demonstrations = 9\n",
       "stage.s.sft.demonstrations: expected nothing beside from_stage"},
      {"name = \"s\"\nkind = \"sft\"\nsft.chat_template = \"no.jinja\"\n",
       "stage.s.sft.chat_template: expected an existing file, found no \"no.jinja\""},
      {"name = \"s\"\nkind = \"sft\"\ndata.prompts_from_stage = \"colect\"\n",
       "stage.s.data.prompts_from_stage: expected the name of an earlier rejection_sampling stage "
       "(collect), found \"colect\"; did you mean \"collect\"?"},
      {"name = \"s\"\nkind = \"sft\"\ndata.order = \"hard_first\"\n",
       "stage.s.data.order: expected \"shuffled\", since a task's prompts have no pass rates"},
      {"name = \"s\"\nkind = \"sft\"\ndata.pass_rate_min = 0.9\ndata.pass_rate_max = 0.1\n",
       "stage.s.data.pass_rate_min: expected at most pass_rate_max = 0.1, found 0.9"},
      {"name = \"s\"\nkind = \"sft\"\nsampling.response_tokens_max = "
       "[{ from_update = 0, value = 8 }, { from_update = 9, value = 16 }]\n",
       "stage.s.sampling.response_tokens_max: expected one number for a stage of kind \"sft\""},
      {"name = \"s\"\nkind = \"sft\"\nsampling.response_tokens_max = 8.5\n",
       "stage.s.sampling.response_tokens_max: expected whole tokens, found 8.5"},
      {"name = \"d\"\nkind = \"distill\"\ndistill.teacher = \"previous\"\n",
       "stage.d.distill.teacher: expected \"stage:NAME\" or a folder, found \"previous\""},
      {"name = \"d\"\nkind = \"distill\"\n", "stage.d.distill.teacher"},
      {"name = \"d\"\nkind = \"distill\"\ndistill.teacher = \"stage:base\"\n"
       "distill.sequences_per_update = 7\n",
       "expected a divisor of prompts_per_step * samples_per_prompt = 256 sequences, found 7"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\n[[stage.reward]]\nname = \"format\"\n",
       "stage.r.rejection_sampling.prompts: expected a number of prompts"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\n[[stage.reward]]\nname = \"format\"\n",
       "stage.r.rejection_sampling.keep: expected at least one rule"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\nrejection_sampling.prompts = 3\n"
       "rejection_sampling.keep = [{ name = \"formt\", min = 1 }]\n"
       "[[stage.reward]]\nname = \"format\"\n",
       "expected a reward of the stage (format, total), found \"formt\"; did you mean \"format\"?"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\nrejection_sampling.prompts = 3\n"
       "rejection_sampling.keep = [{ name = \"total\", min = 2, max = 1 }]\n"
       "[[stage.reward]]\nname = \"format\"\n",
       "keep.total.min: expected at most max = 1.0, found 2.0"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\nrejection_sampling.prompts = 3\n"
       "rejection_sampling.keep = [{ name = \"total\" }]\n"
       "rejection_sampling.mix = [{ name = \"m\", path = \"no.jsonl\" }]\n"
       "[[stage.reward]]\nname = \"format\"\nweight = [{ from_update = 0, value = 1 }, "
       "{ from_update = 5, value = 2 }]\n",
       "mix.m.path: expected an existing file, found no \"no.jsonl\""},
      {"name = \"r\"\nkind = \"rejection_sampling\"\nrejection_sampling.prompts = 3\n"
       "rejection_sampling.keep = [{ name = \"total\" }]\n"
       "[[stage.reward]]\nname = \"format\"\nweight = [{ from_update = 0, value = 1 }, "
       "{ from_update = 5, value = 2 }]\n",
       "stage.r.reward.format.weight: expected one number for a stage of kind"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\nrejection_sampling.prompts = 3\n"
       "rejection_sampling.keep = [{ name = \"total\" }]\nrejection_sampling.tokens_min = 9\n"
       "rejection_sampling.tokens_max = 8\n[[stage.reward]]\nname = \"format\"\n",
       "stage.r.rejection_sampling.tokens_min: expected at most tokens_max = 8, found 9"},
      {"name = \"r\"\nkind = \"rejection_sampling\"\nrejection_sampling.prompts = 3\n"
       "rejection_sampling.keep = [{ name = \"total\" }]\n",
       "expected at least one [[stage.reward]]"},
  };
  for (const auto& test : cases) {
    const std::string problems = Problems(test.stage);
    EXPECT_THAT(problems, HasSubstr(test.problem)) << test.stage;
    EXPECT_THAT(problems, HasSubstr("c.toml:")) << test.stage;
  }
}

}  // namespace
}  // namespace r1
