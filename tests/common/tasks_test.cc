// The task "chain": every text is true, splits do not leak, draws follow the recipe and are pure.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/hash.h"
#include "common/prompt_source.h"
#include "common/tasks/task.h"

namespace r1 {
namespace {

using testing::HasSubstr;

const Task& Chain() {
  static const Task* const task = MakeTask("chain")->release();
  return *task;
}

// A naive second opinion: values of "7+5-3" from left to right, first number included.
std::vector<int> Values(const std::string& expression) {
  std::vector<int> values = {expression[0] - '0'};
  for (size_t i = 1; i < expression.size(); i += 2) {
    const int operand = expression[i + 1] - '0';
    values.push_back(values.back() + (expression[i] == '+' ? operand : -operand));
  }
  return values;
}

std::string Working(const std::string& expression) {
  const std::vector<int> values = Values(expression);
  std::vector<std::string> lines;
  for (size_t i = 1; i < values.size(); ++i) {
    lines.push_back(std::to_string(values[i - 1]) + expression.substr(2 * i - 1, 2) + "=" +
                    std::to_string(values[i]));
  }
  return absl::StrJoin(lines, "\n");
}

// The expression of a prompt in question form, checked against the generator's rules.
std::string CheckedExpression(const std::string& prompt) {
  const auto is_digit = [](char c) { return c >= '1' && c <= '9'; };
  const size_t operators = prompt.size() / 2 - 1;
  EXPECT_TRUE(prompt.size() % 2 == 0 && operators >= 3 && operators <= 5) << prompt;
  EXPECT_EQ(prompt.back(), '=') << prompt;
  for (size_t i = 0; i + 1 < prompt.size(); ++i) {
    const char c = prompt[i];
    EXPECT_TRUE(i % 2 == 0 ? is_digit(c) : c == '+' || c == '-') << prompt;
  }
  const std::string expression = prompt.substr(0, prompt.size() - 1);
  for (const int value : Values(expression)) {
    EXPECT_GE(value, 0) << prompt;
    EXPECT_LE(value, 30) << prompt;
  }
  return expression;
}

uint64_t Bucket(const std::string& expression) { return Fnv1a64Finalized(expression + "=") % 10; }

TEST(ChainTest, PromptsFollowTheRulesAndAnswersAreTrue) {
  std::map<size_t, int> operators;
  for (uint64_t i = 0; i < 5000; ++i) {
    const PromptRow row = Chain().Prompt(Split::kTrain, 1, 2, i);
    const std::string expression = CheckedExpression(row.prompt);
    EXPECT_EQ(row.answer, std::to_string(Values(expression).back()));
    EXPECT_EQ(row.prompt_id, PromptId(row.prompt, row.answer));
    EXPECT_EQ(row.columns_json, "{}");
    EXPECT_GE(Bucket(expression), 2u) << row.prompt;
    ++operators[expression.size() / 2];
  }
  ASSERT_EQ(operators.size(), 3u);
  for (const auto& [count, prompts] : operators)
    EXPECT_NEAR(prompts, 5000 / 3, 200);  // six standard deviations
}

TEST(ChainTest, HeldOutPromptsAreDistinctFixedAndOnTheirSide) {
  std::set<std::string> seen;
  for (const Split split : {Split::kEval, Split::kDev}) {
    const size_t before = seen.size();
    for (uint64_t i = 0; i < 2000; ++i) {
      const PromptRow row = Chain().Prompt(split, i, static_cast<uint32_t>(i), i);
      EXPECT_TRUE(seen.insert(row.prompt).second) << row.prompt;
      EXPECT_EQ(Bucket(CheckedExpression(row.prompt)), split == Split::kEval ? 0u : 1u);
      EXPECT_EQ(SplitOf(row.prompt), split);
    }
    EXPECT_EQ(seen.size(), before + 2000);
  }
  EXPECT_EQ(Chain().Prompt(Split::kEval, 1, 1, 5).prompt,
            Chain().Prompt(Split::kEval, 2, 3, 5).prompt);
  EXPECT_EQ(Chain().size(Split::kTrain), UINT64_MAX);
  EXPECT_EQ(Chain().size(Split::kDev), 16384u);
  EXPECT_FALSE(Chain().Prompt(Split::kEval, 0, 0, Chain().size(Split::kEval) - 1).prompt.empty());
}

TEST(ChainTest, ARowDoesNotDependOnWhatWasDrawnBefore) {
  const auto fresh = *MakeTask("chain");
  EXPECT_EQ(fresh->Prompt(Split::kEval, 0, 0, 700).prompt,
            Chain().Prompt(Split::kEval, 0, 0, 700).prompt);
  EXPECT_EQ(fresh->Prompt(Split::kEval, 0, 0, 3).prompt,
            Chain().Prompt(Split::kEval, 0, 0, 3).prompt);
  EXPECT_EQ(fresh->Document(1, 2, 77).completion, Chain().Document(1, 2, 77).completion);
  std::set<std::string> prompts;
  prompts.insert(fresh->Prompt(Split::kTrain, 1, 0, 5).prompt);
  prompts.insert(fresh->Prompt(Split::kTrain, 2, 0, 5).prompt);
  prompts.insert(fresh->Prompt(Split::kTrain, 1, 1, 5).prompt);
  prompts.insert(fresh->Prompt(Split::kTrain, 1, 0, 6).prompt);
  prompts.insert(fresh->Document(1, 0, 5).prompt);
  prompts.insert(fresh->Demonstration(1, 0, 5).prompt);
  EXPECT_EQ(prompts.size(), 6u);
}

TEST(ChainTest, HeldOutPromptsMayBeAskedForByManyThreads) {
  const auto fresh = *MakeTask("chain");
  std::vector<std::thread> threads;
  std::vector<std::vector<std::string>> found(4);
  for (size_t t = 0; t < found.size(); ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 300; ++i) {
        found[t].push_back(fresh->Prompt(Split::kDev, 0, 0, t % 2 == 0 ? i : 299 - i).prompt);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::reverse(found[1].begin(), found[1].end());
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
}

TEST(ChainTest, TextbookPromptsAskTheSameQuestionForTheWholeWorking) {
  for (uint64_t i = 0; i < 200; ++i) {
    const PromptRow question = Chain().Prompt(Split::kDev, 0, 0, i);
    const PromptRow textbook = Chain().TextbookPrompt(Split::kDev, i);
    const std::string expression = CheckedExpression(question.prompt);
    EXPECT_EQ(textbook.prompt, expression + ":\n");
    EXPECT_EQ(textbook.answer, Working(expression));
    EXPECT_TRUE(absl::EndsWith(textbook.answer, "=" + question.answer));
  }
}

TEST(ChainTest, DemonstrationsAreCompleteAndOnTheTrainSide) {
  for (uint64_t i = 0; i < 500; ++i) {
    const TextRow row = Chain().Demonstration(3, 1, i);
    const std::string expression = CheckedExpression(row.prompt);
    EXPECT_GE(Bucket(expression), 2u);
    EXPECT_EQ(row.completion, "<think>" + Working(expression) + "</think><answer>" +
                                  std::to_string(Values(expression).back()) + "</answer>");
  }
}

// What a question document shows. Lines of a terse working are those of the full one, in order, the
// last always there.
enum class Content { kDirect, kTerse, kFull };

Content ClassifyContent(const std::string& shown, const std::string& expression) {
  if (shown.empty()) return Content::kDirect;
  if (shown == Working(expression)) return Content::kFull;
  const std::vector<std::string> full = absl::StrSplit(Working(expression), '\n');
  const std::vector<std::string> lines = absl::StrSplit(shown, '\n');
  size_t at = 0;
  for (const std::string& line : lines) {
    while (at < full.size() && full[at] != line) ++at;
    EXPECT_LT(at, full.size()) << shown << " is not part of the working of " << expression;
    ++at;
  }
  EXPECT_EQ(lines.back(), full.back());
  return Content::kTerse;
}

struct ParsedDocument {
  std::string tags;  // "none", "right", or the broken form with W and n
  Content content;
};

// A form of a question document: what stands before the working W, between it and the number n, and
// after.
struct Form {
  const char* name;
  const char* before;
  const char* between;
  const char* after;
};

constexpr Form kForms[] = {
    {"right", "<think>", "</think><answer>", "</answer>"},
    {"<think>W</think>n", "<think>", "</think>", ""},
    {"<think>W<answer>n</answer>", "<think>", "<answer>", "</answer>"},
    {"W</think><answer>n</answer>", "", "</think><answer>", "</answer>"},
    {"<think>W</think><answer>n", "<think>", "</think><answer>", ""},
    {"<answer>n</answer>", "", "<answer>", "</answer>"},
    {"none", "\n", "\n", ""},
    {"none", "", "", ""},
};

ParsedDocument ParseQuestion(const std::string& completion, const std::string& expression) {
  const std::string answer = std::to_string(Values(expression).back());
  for (const Form& form : kForms) {
    absl::string_view text = completion;
    if (!absl::ConsumePrefix(&text, form.before) || !absl::ConsumeSuffix(&text, form.after))
      continue;
    if (!absl::ConsumeSuffix(&text, answer) || !absl::ConsumeSuffix(&text, form.between)) continue;
    if (absl::StrContains(text, "<")) continue;
    const bool has_working = form.before[0] != '\0' || absl::StartsWith(form.between, "</think>");
    if (!has_working && !text.empty()) continue;
    return {form.name, ClassifyContent(std::string(text), expression)};
  }
  ADD_FAILURE() << "no known form, or another answer: " << completion;
  return {"", Content::kDirect};
}

// Within six standard deviations of a binomial.
void ExpectShare(int count, int total, double share, const std::string& what) {
  EXPECT_NEAR(count, total * share, 6 * std::sqrt(total * share * (1 - share))) << what;
}

TEST(ChainTest, DocumentsAreTrueAndMixedAsTheRecipeSays) {
  constexpr int kDocuments = 20000;
  int textbook = 0, questions = 0;
  std::map<std::string, int> tags;
  std::map<Content, int> contents;
  std::map<std::pair<std::string, Content>, int> joint;
  for (uint64_t i = 0; i < kDocuments; ++i) {
    const TextRow row = Chain().Document(1, 0, i);
    if (absl::EndsWith(row.prompt, ":\n")) {
      const std::string expression = row.prompt.substr(0, row.prompt.size() - 2);
      CheckedExpression(expression + "=");
      EXPECT_GE(Bucket(expression), 2u);
      EXPECT_EQ(row.completion, Working(expression));
      ++textbook;
      continue;
    }
    const std::string expression = CheckedExpression(row.prompt);
    EXPECT_GE(Bucket(expression), 2u);
    const ParsedDocument parsed = ParseQuestion(row.completion, expression);
    ++questions;
    ++tags[parsed.tags];
    ++joint[{parsed.tags, parsed.content}];
    if (parsed.tags != "<answer>n</answer>") ++contents[parsed.content];
  }
  ExpectShare(textbook, kDocuments, 0.5, "textbook");
  ExpectShare(tags["none"], questions, 0.45, "no tags");
  ExpectShare(tags["right"], questions, 0.30, "right tags");
  EXPECT_EQ(tags.size(), 7u);
  for (const auto& [name, count] : tags) {
    if (name != "none" && name != "right") ExpectShare(count, questions, 0.05, name);
  }
  // A terse working keeps all its lines with (1/2)^(K-1) for K in 3..5 (.146 on average) and then
  // looks full.
  const double hidden = 0.15 * (0.25 + 0.125 + 0.0625) / 3;
  const int shown =
      contents[Content::kDirect] + contents[Content::kTerse] + contents[Content::kFull];
  ExpectShare(contents[Content::kDirect], shown, 0.55, "direct");
  ExpectShare(contents[Content::kTerse], shown, 0.15 - hidden, "terse");
  ExpectShare(contents[Content::kFull], shown, 0.30 + hidden, "full");
  // Drawn independently.
  ExpectShare(joint[{"right", Content::kDirect}], questions, 0.30 * 0.55, "right and direct");
  ExpectShare(joint[{"none", Content::kFull}], questions, 0.45 * (0.30 + hidden), "none and full");
}

// Digits again for the letters a to j outside tags.
std::string InDigits(std::string text) {
  bool tag = false;
  for (char& c : text) {
    if (c == '<' || c == '>') tag = c == '<';
    if (!tag && c >= 'a' && c <= 'j') c = static_cast<char>('0' + (c - 'a'));
  }
  return text;
}

TEST(ChainBilingualTest, DocumentsAreTrueInBothScripts) {
  const auto task = *MakeTask("chain_bilingual");
  std::map<std::string, int> scripts;
  int questions = 0, textbooks = 0, textbooks_in_letters = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    const TextRow row = task->Document(1, 0, i);
    if (row.prompt.back() == '\n') {
      const std::string expression = CheckedExpression(
          std::string(absl::StripSuffix(InDigits(row.prompt), ":\n")) + "=");
      EXPECT_GE(Bucket(expression), 2u);
      EXPECT_EQ(InDigits(row.completion), Working(expression));
      const bool letters = InDigits(row.prompt) != row.prompt;
      // The whole of it is in one script.
      EXPECT_EQ(row.completion.find_first_of(letters ? "0123456789" : "abcdefghij"),
                std::string::npos);
      ++textbooks;
      textbooks_in_letters += letters ? 1 : 0;
      continue;
    }
    const std::string expression = CheckedExpression(row.prompt);
    const ParsedDocument parsed = ParseQuestion(InDigits(row.completion), expression);
    if (parsed.content != Content::kFull) continue;
    ++questions;
    // Script of the lines that have an operator; the answer is always in digits.
    bool digits = false, letters = false;
    for (const absl::string_view line : absl::StrSplit(row.completion, '\n')) {
      const size_t equals = line.find('=');
      if (equals == absl::string_view::npos) continue;
      const char last_operand = line[equals - 1];
      (last_operand >= 'a' ? letters : digits) = true;
    }
    ++scripts[digits && letters ? "mixed" : letters ? "letters" : "digits"];
  }
  ExpectShare(textbooks_in_letters, textbooks, 0.4, "textbook in letters");
  // A mixed working of 3 to 5 lines is all in one script by chance.
  const double by_chance = 0.3 * (0.125 + 0.0625 + 0.03125) / 3;
  ExpectShare(scripts["digits"], questions, 0.5 + by_chance, "digits");
  ExpectShare(scripts["letters"], questions, 0.2 + by_chance, "letters");
  ExpectShare(scripts["mixed"], questions, 0.3 - 2 * by_chance, "mixed");
}

TEST(ChainBilingualTest, AsksAndAnswersAsChainDoes) {
  const auto task = *MakeTask("chain_bilingual");
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(task->Prompt(Split::kTrain, 1, 2, i).prompt_id,
              Chain().Prompt(Split::kTrain, 1, 2, i).prompt_id);
    EXPECT_EQ(task->TextbookPrompt(Split::kEval, i).answer,
              Chain().TextbookPrompt(Split::kEval, i).answer);
    EXPECT_EQ(task->Demonstration(3, 1, i).completion, Chain().Demonstration(3, 1, i).completion);
  }
}

TEST(TaskSourceTest, PassesTheTaskOn) {
  const auto source = MakeTaskSource(*MakeTask("chain"));
  EXPECT_EQ(source->size(Split::kTrain), UINT64_MAX);
  EXPECT_EQ(source->Prompt(Split::kTrain, 1, 2, 3).prompt,
            Chain().Prompt(Split::kTrain, 1, 2, 3).prompt);
  const auto chars = *Tokenizer::Parse(*Tokenizer::BuiltinJson("chars"));
  const auto ids = *EncodePrompt(*chars, source->Prompt(Split::kEval, 0, 0, 0));
  EXPECT_EQ(chars->Decode(ids), "<bos>" + source->Prompt(Split::kEval, 0, 0, 0).prompt);
}

TEST(MakeTaskTest, UnknownNamesGetTheNearest) {
  const absl::Status status = MakeTask("chian").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("task: expected one of chain, chain_bilingual, found \"chian\"; did you "
                        "mean \"chain\"?"));
}

}  // namespace
}  // namespace r1
