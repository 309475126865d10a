// Rows to fine-tune on as token sequences: where the loss is, conversations through a chat
// template, and rows that cannot be used.

#include "common/training_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Each turn between [role] and <eos>; as the R1 distillations do, the thinking of turns before the
// last user message is not shown.
constexpr char kForgetfulTemplate[] =
    "{%- set last = namespace(user=-1) -%}"
    "{%- for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{%- endfor -%}"
    "{%- for m in messages -%}[{{ m.role }}]"
    "{%- if m.role == 'assistant' and loop.index0 < last.user -%}"
    "{{ m.content.split('</think>')[-1] }}{%- else -%}{{ m.content }}{%- endif -%}"
    "{%- if m.role == 'assistant' %}<eos>{% endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}[assistant]{% endif -%}";
constexpr char kPlainTemplate[] =
    "{%- for m in messages -%}[{{ m.role }}]{{ m.content }}"
    "{%- if m.role == 'assistant' %}<eos>{% endif %}{%- endfor -%}"
    "{%- if add_generation_prompt %}[assistant]{% endif -%}";

class TrainingSetTest : public testing::Test {
 protected:
  TrainingSetTest()
      : tokenizer_(Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes")).value()),
        plain_(ModelChatTemplate::OfSource(kPlainTemplate).value()),
        forgetful_(ModelChatTemplate::OfSource(kForgetfulTemplate).value()) {}

  TrainTextOptions Options(const ModelChatTemplate* chat_template = nullptr) const {
    return {.tokenizer = *tokenizer_, .chat_template = chat_template};
  }
  std::vector<TrainText> Encode(const std::string& row, const ModelChatTemplate* chat_template) {
    auto texts = EncodeTrainRow(row, "f:1", Options(chat_template));
    EXPECT_TRUE(texts.ok()) << texts.status();
    return texts.ok() ? *std::move(texts) : std::vector<TrainText>();
  }
  std::string Problem(const std::string& row, const ModelChatTemplate* chat_template) {
    return std::string(EncodeTrainRow(row, "f:1", Options(chat_template)).status().message());
  }
  std::string Text(const TrainText& text) const { return tokenizer_->Decode(text.ids); }
  // What the loss is on, piece by piece.
  std::vector<std::string> Targets(const TrainText& text) const {
    std::vector<std::string> pieces;
    for (const TokenRange& range : text.targets) {
      pieces.push_back(
          tokenizer_->Decode({text.ids.begin() + range.begin, text.ids.begin() + range.end}));
    }
    return pieces;
  }
  std::string WriteFile(const std::string& name, const std::string& text) {
    const std::string path = JoinPath(testing::TempDir(), name);
    EXPECT_TRUE(WriteFileAtomically(RealFileSystem(), path, text).ok());
    return path;
  }

  const std::unique_ptr<Tokenizer> tokenizer_;
  const ModelChatTemplate plain_;
  const ModelChatTemplate forgetful_;
};

constexpr char kTwoTurns[] =
    R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},)"
    R"( {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";

TEST_F(TrainingSetTest, LossIsOnTheCompletionAndItsEnd) {
  TrainTextOptions options = Options();
  options.prompt_template = "Q: {prompt} A:";
  const auto texts =
      EncodeTrainRow(R"({"prompt": "1<eos>", "completion": "<think>2</think>"})", "f:1", options);
  ASSERT_TRUE(texts.ok()) << texts.status();
  ASSERT_EQ(texts->size(), 1u);
  const TrainText& text = texts->front();
  EXPECT_EQ(Text(text), "<bos>Q: 1<eos> A:<think>2</think><eos>");
  EXPECT_THAT(Targets(text), ElementsAre("<think>2</think><eos>"));
  // <eos> in the prompt is text; in the completion tags are tokens.
  EXPECT_EQ(std::count(text.ids.begin(), text.ids.end(), tokenizer_->eos_id()), 1);
  EXPECT_EQ(text.ids[static_cast<size_t>(text.targets[0].begin)], tokenizer_->TokenId("<think>"));
}

TEST_F(TrainingSetTest, EveryTurnOfTheAssistantIsATarget) {
  const std::vector<TrainText> texts = Encode(kTwoTurns, &plain_);
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(Text(texts[0]), "[user]a[assistant]b<eos>[user]c[assistant]d<eos>");
  EXPECT_THAT(Targets(texts[0]), ElementsAre("b<eos>", "d<eos>"));
}

TEST_F(TrainingSetTest, TurnsThatTheTemplateRewritesAreSequencesOfTheirOwn) {
  const std::vector<TrainText> texts =
      Encode(R"({"messages": [{"role": "user", "content": "a"},)"
             R"( {"role": "assistant", "content": "<think>x</think>b"},)"
             R"( {"role": "user", "content": "c"},)"
             R"( {"role": "assistant", "content": "<think>y</think>d"}]})",
             &forgetful_);
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(Text(texts[0]), "[user]a[assistant]<think>x</think>b<eos>");
  EXPECT_THAT(Targets(texts[0]), ElementsAre("<think>x</think>b<eos>"));
  EXPECT_EQ(Text(texts[1]), "[user]a[assistant]b<eos>[user]c[assistant]<think>y</think>d<eos>");
  EXPECT_THAT(Targets(texts[1]), ElementsAre("<think>y</think>d<eos>"));
}

TEST_F(TrainingSetTest, WhatAUserWritesIsNeverAToken) {
  const std::vector<TrainText> texts =
      Encode(R"({"messages": [{"role": "user", "content": "<eos><think>"},)"
             R"( {"role": "assistant", "content": "<think>ok"}]})",
             &plain_);
  ASSERT_EQ(texts.size(), 1u);
  const std::vector<int32_t>& ids = texts[0].ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->eos_id()), 1);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->TokenId("<think>")), 1);
  EXPECT_THAT(Targets(texts[0]), ElementsAre("<think>ok<eos>"));
}

TEST_F(TrainingSetTest, ATurnEndsEvenWhereTheTemplateDoesNotEndIt) {
  const auto bare = ModelChatTemplate::OfSource(
      "{% for m in messages %}({{ m.content }}){% endfor %}"
      "{% if add_generation_prompt %}({% endif %}");
  ASSERT_TRUE(bare.ok());
  const std::vector<TrainText> texts = Encode(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
      &*bare);
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_THAT(Targets(texts[0]), ElementsAre("b)<eos>"));
}

TEST_F(TrainingSetTest, ProblemsOfRowsAreNamed) {
  EXPECT_THAT(Problem("{}", nullptr), HasSubstr("f:1: prompt"));
  EXPECT_THAT(Problem(R"({"prompt": "a"})", nullptr), HasSubstr("f:1: completion"));
  EXPECT_THAT(Problem(R"({"prompt": "a", "completion": ""})", nullptr), HasSubstr("completion"));
  EXPECT_THAT(Problem(kTwoTurns, nullptr), HasSubstr("sft.chat_template"));
  EXPECT_THAT(Problem(R"({"messages": 3})", &plain_), HasSubstr("messages"));
  EXPECT_THAT(Problem(R"({"messages": []})", &plain_), HasSubstr("role \"assistant\""));
  EXPECT_THAT(Problem(R"({"messages": [{"role": "user", "content": "a"}]})", &plain_),
              HasSubstr("role \"assistant\""));
  EXPECT_THAT(Problem("[1]", &plain_), HasSubstr("expected an object"));
  const auto refusing = ModelChatTemplate::OfSource("{{ raise_exception('no') }}");
  ASSERT_TRUE(refusing.ok());
  EXPECT_THAT(Problem(kTwoTurns, &*refusing), HasSubstr("no"));
}

TEST_F(TrainingSetTest, EpochsGoThroughAllSequencesInNewOrders) {
  std::string rows;
  for (int i = 0; i < 30; ++i) {
    absl::StrAppend(&rows, "{\"prompt\": \"", i, "\", \"completion\": \"x\"}\n");
  }
  rows += std::string(rows);  // repetitions
  absl::StrAppend(&rows, "{\"prompt\": \"", std::string(200, 'a'), "\", \"completion\": \"x\"}\n");
  const auto set = TrainingSet::Load({WriteFile("set.jsonl", rows)}, 100, Options());
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->size(), 30u);
  EXPECT_EQ((*set)->left_out().repeated, 30u);
  EXPECT_EQ((*set)->left_out().too_long, 1u);
  std::vector<std::vector<std::string>> epochs(2);
  for (uint64_t position = 0; position < 60; ++position) {
    epochs[position / 30].push_back(Text((*set)->Sequence(1, 2, position)));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_EQ(std::set(epochs[0].begin(), epochs[0].end()),
            std::set(epochs[1].begin(), epochs[1].end()));
  EXPECT_EQ(std::set(epochs[0].begin(), epochs[0].end()).size(), 30u);
}

TEST_F(TrainingSetTest, FilesThatCannotBeUsed) {
  const std::string bad =
      WriteFile("bad.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{}\n");
  EXPECT_THAT(std::string(TrainingSet::Load({bad}, 100, Options()).status().message()),
              HasSubstr("bad.jsonl:2"));
  const std::string longest =
      WriteFile("long.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
  EXPECT_THAT(std::string(TrainingSet::Load({longest}, 3, Options()).status().message()),
              HasSubstr("1 are longer than 3 tokens"));
  EXPECT_TRUE(absl::IsNotFound(TrainingSet::Load({"no.jsonl"}, 9, Options()).status()));
  EXPECT_EQ(HasMessages(bad).value(), false);
  EXPECT_EQ(HasMessages(WriteFile("chat.jsonl", absl::StrCat(kTwoTurns, "\n"))).value(), true);
  EXPECT_FALSE(HasMessages(WriteFile("empty.jsonl", "")).ok());
}

}  // namespace
}  // namespace r1
