// Datasets: columns, answer markers, templates, the hold-out split, what is left out, and the order
// of epochs.

#include "common/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"
#include "common/hash.h"
#include "common/permutation.h"

namespace r1 {
namespace {

using testing::HasSubstr;

class DatasetTest : public testing::Test {
 protected:
  DatasetTest()
      : folder_(testing::TempDir() + "r1_dataset_" + std::to_string(getpid())),
        tokenizer_(*Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes"))) {
    R1_CHECK(RealFileSystem().CreateDirectories(folder_).ok());
    config_.set_prompt_template("{prompt}");
    config_.set_prompt_tokens_max(1000);
  }
  ~DatasetTest() override { R1_CHECK(RealFileSystem().RemoveAll(folder_).ok()); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = JoinPath(folder_, name);
    R1_CHECK(WriteFileAtomically(RealFileSystem(), path, text).ok());
    return path;
  }
  // Rows q<begin> … with their numbers as answers.
  static std::string Rows(int begin, int end) {
    std::string text;
    for (int i = begin; i < end; ++i) {
      text += "{\"question\":\"q" + std::to_string(i) + "\",\"answer\":\"" + std::to_string(i) +
              "\"}\n";
    }
    return text;
  }
  // The one row of a file, whatever side of the split it falls on.
  absl::StatusOr<PromptRow> OneRow(const std::string& row) {
    config_.clear_eval_files();
    config_.clear_train_files();
    config_.add_eval_files(Write("one", row + "\n"));
    config_.add_train_files(Write("train", "{\"prompt\":\"other\",\"answer\":\"#### 1\"}\n"));
    R1_ASSIGN_OR_RETURN(const auto dataset, Load());
    R1_CHECK(dataset->size(Split::kEval) == 1);
    return dataset->Prompt(Split::kEval, 0, 0, 0);
  }
  absl::StatusOr<std::unique_ptr<Dataset>> Load(Dataset::Kind kind = Dataset::Kind::kAnswers) {
    return Dataset::Load(config_, kind, *tokenizer_);
  }
  std::string ErrorMessage(const std::string& row) {
    const auto read = OneRow(row);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(read.status().message());
  }

  const std::string folder_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  v1::DataConfig config_;
};

TEST_F(DatasetTest, ColumnsAreReadAndKept) {
  config_.set_answer_marker("####");
  const PromptRow row =
      *OneRow(R"({"question": "How many?", "answer": "3 #### no\n#### 1,234 ", "level": 2, )"
              R"("tags": ["x"], "completion": "c"})");
  EXPECT_EQ(row.prompt, "How many?");
  EXPECT_EQ(row.answer, "1,234");
  EXPECT_EQ(row.columns_json, R"({"completion":"c","level":2,"tags":["x"]})");
  EXPECT_EQ(row.prompt_id, PromptId("How many?", "1,234"));
  EXPECT_EQ(row.prompt_id.size(), 16u);
  EXPECT_FALSE(row.think_prefilled);
}

TEST_F(DatasetTest, PromptWinsOverQuestionAndAnswersMayBeNumbers) {
  const PromptRow row = *OneRow(R"({"prompt": "p", "question": "q", "answer": 42})");
  EXPECT_EQ(row.prompt, "p");
  EXPECT_EQ(row.answer, "42");
  EXPECT_EQ(row.columns_json, R"({"question":"q"})");
}

TEST_F(DatasetTest, TheTemplateMarksWhatIsData) {
  config_.set_prompt_template("User: {prompt}\nAssistant: <think>\n");
  const PromptRow row = *OneRow(R"({"prompt": "<eos>2+2?", "answer": "4"})");
  EXPECT_EQ(row.prompt, "User: <eos>2+2?\nAssistant: <think>\n");
  EXPECT_TRUE(row.think_prefilled);
  const auto ids = *EncodePrompt(*tokenizer_, row);
  EXPECT_EQ(ids[0], tokenizer_->bos_id());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->eos_id()), 0);  // the data's is text
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer_->TokenId("<think>")), 1);
  EXPECT_EQ(tokenizer_->Decode(ids), "<bos>" + row.prompt);
  for (const char* bad : {"no place", "{prompt}{prompt}"}) {
    config_.set_prompt_template(bad);
    EXPECT_THAT(ErrorMessage(R"({"prompt": "p", "answer": "4"})"),
                HasSubstr("data.prompt_template: expected {prompt} once"));
  }
}

TEST_F(DatasetTest, ProgramsHaveTestsInPlaceOfAnAnswer) {
  const auto row = OneRow(R"({"prompt": "p", "tests": [{"input": "1", "output": "2"}]})");
  ASSERT_TRUE(row.ok()) << row.status();
  EXPECT_EQ(row->answer, "");
  EXPECT_EQ(row->columns_json, R"({"tests":[{"input":"1","output":"2"}]})");
  EXPECT_EQ(OneRow(R"({"prompt": "p", "tests": [], "answer": "4"})")->answer, "4");
}

TEST_F(DatasetTest, BadRowsAreNamedByFileAndLine) {
  EXPECT_THAT(ErrorMessage("{\"answer\": \"4\"}"),
              HasSubstr("one:1: prompt: expected it or \"question\""));
  EXPECT_THAT(ErrorMessage(R"({"prompt": 3, "answer": "4"})"),
              HasSubstr("one:1: prompt: expected a string, found 3"));
  EXPECT_THAT(ErrorMessage(R"({"prompt": "", "answer": "4"})"),
              HasSubstr("one:1: prompt: expected text"));
  EXPECT_THAT(ErrorMessage(R"({"prompt": "p"})"),
              HasSubstr("one:1: answer: expected a string or a number"));
  EXPECT_THAT(ErrorMessage(R"({"prompt": "p", "answer": [4]})"),
              HasSubstr("found an array of 1 elements"));
  EXPECT_THAT(ErrorMessage(R"({"prompt": "p", "answer": "  "})"),
              HasSubstr("one:1: answer: expected text"));
  EXPECT_THAT(ErrorMessage("{\"prompt\": \"p\", \"answer\": \"4\"}\nnonsense"),
              HasSubstr("one:2: parse error"));
  config_.set_answer_marker("####");
  EXPECT_THAT(
      ErrorMessage(R"({"prompt": "p", "answer": "4"})"),
      HasSubstr("one:1: answer: expected the marker \"####\" (data.answer_marker), found \"4\""));
}

TEST_F(DatasetTest, CharactersThatTheTokenizerLacksAreNamedByFileAndLine) {
  const auto chars = *Tokenizer::Parse(*Tokenizer::BuiltinJson("chars"));
  config_.add_train_files(Write("t", Rows(0, 3)));
  const auto dataset = Dataset::Load(config_, Dataset::Kind::kAnswers, *chars);
  EXPECT_THAT(std::string(dataset.status().message()), HasSubstr("t:1: prompt "));
  EXPECT_THAT(std::string(dataset.status().message()), HasSubstr("character \"q\" at byte 0"));
}

TEST_F(DatasetTest, WithoutEvaluationFilesTheSplitIsByHash) {
  config_.add_train_files(Write("t", Rows(0, 1000)));
  const auto dataset = *Load();
  std::map<std::string, Split> side;
  for (const Split split : {Split::kTrain, Split::kDev, Split::kEval}) {
    for (uint64_t i = 0; i < dataset->size(split); ++i) {
      const std::string prompt = dataset->Prompt(split, 1, 0, i).prompt;
      EXPECT_TRUE(side.emplace(prompt, split).second) << prompt;
      const uint64_t bucket = Fnv1a64Finalized(prompt) % 10;
      EXPECT_EQ(split, bucket == 0 ? Split::kEval : bucket == 1 ? Split::kDev : Split::kTrain);
    }
  }
  EXPECT_EQ(side.size(), 1000u);
  EXPECT_NEAR(static_cast<double>(dataset->size(Split::kEval)), 100, 40);
  EXPECT_EQ(dataset->files()[0].rows, 1000u);
  EXPECT_EQ(dataset->files()[0].sha256, Sha256Hex(Rows(0, 1000)));
}

TEST_F(DatasetTest, WithEvaluationFilesTrainingNeverSeesTheirPrompts) {
  config_.add_train_files(Write("t", Rows(0, 500)));
  config_.add_eval_files(Write("e", Rows(400, 600)));
  const auto dataset = *Load();
  EXPECT_EQ(dataset->size(Split::kEval), 200u);
  EXPECT_EQ(dataset->left_out().evaluated, 100u);
  EXPECT_EQ(dataset->size(Split::kTrain) + dataset->size(Split::kDev), 400u);
  EXPECT_EQ(dataset->Prompt(Split::kEval, 9, 9, 0).prompt, "q400");  // in the file's order
  EXPECT_EQ(dataset->Prompt(Split::kEval, 8, 8, 199).prompt, "q599");
  bool has_bucket_zero = false;
  for (uint64_t i = 0; i < dataset->size(Split::kTrain); ++i) {
    const std::string prompt = dataset->Prompt(Split::kTrain, 1, 0, i).prompt;
    EXPECT_LT(std::stoi(prompt.substr(1)), 400);
    has_bucket_zero = has_bucket_zero || Fnv1a64Finalized(prompt) % 10 == 0;
  }
  EXPECT_TRUE(has_bucket_zero);
}

TEST_F(DatasetTest, RepetitionsAndLongPromptsAreLeftOutAndCounted) {
  config_.set_prompt_tokens_max(5);  // <bos> and four bytes
  config_.add_train_files(Write(
      "t", Rows(995, 1010) + Rows(995, 998) + "{\"question\":\"q996\",\"answer\":\"other\"}\n"));
  const auto dataset = *Load();
  EXPECT_EQ(dataset->left_out().too_long, 10u);  // q1000 … q1009
  EXPECT_EQ(dataset->left_out().repeated, 3u);
  EXPECT_EQ(dataset->size(Split::kTrain) + dataset->size(Split::kDev) + dataset->size(Split::kEval),
            6u);
}

TEST_F(DatasetTest, FilesWithoutRowsOfTheirOwnAreRefused) {
  const auto message = [this](const std::vector<std::string>& files) {
    config_.clear_train_files();
    for (const std::string& file : files) config_.add_train_files(file);
    return std::string(Load().status().message());
  };
  const std::string good = Write("good", Rows(0, 50));
  EXPECT_THAT(message({Write("empty", "\n \n")}), HasSubstr("empty: holds no rows"));
  EXPECT_THAT(message({good, Write("again", Rows(7, 9))}),
              HasSubstr("again: all of its 2 rows repeat rows"));
  EXPECT_THAT(message({JoinPath(folder_, "none")}), HasSubstr("none: open"));
  config_.set_prompt_tokens_max(1);
  EXPECT_THAT(
      message({good}),
      HasSubstr("data.train_files: no training prompt is left: 50 are longer than 1 tokens"));
}

TEST_F(DatasetTest, DemonstrationsNeedCompletions) {
  config_.add_train_files(
      Write("t",
            "{\"prompt\":\"a\",\"completion\":\"<think>x</think>1\"}\n"
            "{\"prompt\":\"a\",\"completion\":\"<think>y</think>1\",\"answer\":\"1\",\"k\":1}\n"
            "{\"prompt\":\"b\",\"completion\":\"z\"}\n"));
  config_.set_prompt_template("<bos>{prompt}");
  const auto dataset = *Load(Dataset::Kind::kCompletions);
  ASSERT_EQ(dataset->size(Split::kTrain), 3u);
  std::set<std::string> completions;
  for (uint64_t i = 0; i < 3; ++i) {
    const TextRow row = dataset->Demonstration(1, 0, i);
    EXPECT_EQ(row.prompt.substr(0, 5), "<bos>");
    EXPECT_EQ(row.data_begin, 5u);
    completions.insert(row.completion);
  }
  EXPECT_EQ(completions.size(), 3u);
  config_.add_train_files(Write("t2", Rows(0, 3)));
  EXPECT_THAT(std::string(Load(Dataset::Kind::kCompletions).status().message()),
              HasSubstr("t2:1: completion: expected a string, found no such key"));
}

TEST_F(DatasetTest, WorkedAnswersAreDemonstrations) {
  config_.set_answer_marker("####");
  config_.add_train_files(
      Write("t", "{\"question\":\"a\",\"answer\":\"2*2=<<2*2=4>>4\\n#### 4\"}\n"));
  const auto dataset = *Load(Dataset::Kind::kCompletions);
  EXPECT_EQ(dataset->Demonstration(1, 0, 0).completion,
            "<think>2*2=<<2*2=4>>4</think><answer>4</answer>");
  EXPECT_EQ(dataset->Prompt(Split::kTrain, 1, 0, 0).answer, "4");
  // An answer without the marker is no demonstration.
  config_.set_train_files(0, Write("t2", "{\"question\":\"a\",\"answer\":\"4\"}\n"));
  EXPECT_FALSE(Load(Dataset::Kind::kCompletions).ok());
}

TEST_F(DatasetTest, EveryEpochIsAnotherOrderOfAllRows) {
  config_.add_train_files(Write("t", Rows(0, 100)));
  config_.add_eval_files(Write("e", Rows(1000, 1001)));
  const auto dataset = *Load();
  const uint64_t rows = dataset->size(Split::kTrain);
  const auto order = [&](uint64_t run_seed, uint32_t stage, uint64_t epoch) {
    std::vector<std::string> prompts;
    for (uint64_t i = 0; i < rows; ++i) {
      prompts.push_back(dataset->Prompt(Split::kTrain, run_seed, stage, epoch * rows + i).prompt);
    }
    return prompts;
  };
  const auto first = order(1, 0, 0);
  EXPECT_EQ(std::set<std::string>(first.begin(), first.end()).size(), rows);
  EXPECT_EQ(order(1, 0, 0), first);
  for (const auto& other : {order(1, 0, 1), order(2, 0, 0), order(1, 1, 0)}) {
    EXPECT_NE(other, first);
    EXPECT_TRUE(std::is_permutation(other.begin(), other.end(), first.begin(), first.end()));
  }
}

TEST(PermutationTest, IsAPermutationOfEverySize) {
  for (uint64_t size = 1; size < 300; ++size) {
    std::set<uint64_t> images;
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t image = PermutedIndex(i, size, 1, 0, size);
      EXPECT_LT(image, size);
      images.insert(image);
    }
    EXPECT_EQ(images.size(), size);
  }
}

// Each of 7 rows lands on each of 7 places in a seventh of the epochs: chi-square, 48 degrees of
// freedom would allow 36 free ones; 80 is far beyond the 99.99 % point.
TEST(PermutationTest, EveryPlaceIsEquallyLikely) {
  constexpr int kSize = 7, kEpochs = 14000;
  int counts[kSize][kSize] = {};
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    for (uint64_t i = 0; i < kSize; ++i) ++counts[i][PermutedIndex(i, kSize, 5, 2, epoch)];
  }
  double chi_square = 0;
  for (const auto& row : counts) {
    for (const int count : row) chi_square += (count - 2000.0) * (count - 2000.0) / 2000.0;
  }
  EXPECT_LT(chi_square, 80);
}

TEST(EncodeTextTest, TheLossBeginsAfterThePrompt) {
  const auto chars = *Tokenizer::Parse(*Tokenizer::BuiltinJson("chars"));
  TextRow row;
  row.prompt = "1+2=";
  row.completion = "<answer>3</answer>";
  const EncodedText text = *EncodeText(*chars, row);
  EXPECT_EQ(text.first_target, 5);
  EXPECT_EQ(chars->Decode(text.ids), "<bos>1+2=<answer>3</answer><eos>");
  EXPECT_EQ(text.ids.size(), 9u);
  row.completion = "!";
  EXPECT_THAT(std::string(EncodeText(*chars, row).status().message()),
              HasSubstr("completion: character \"!\""));
}

// --- Pass rates ---

class PassRateTest : public testing::Test {
 protected:
  // Training rows named by their pass rate in percent, in the order in which they come.
  std::vector<std::string> Order(const v1::DataConfig& config) {
    const auto dataset = Dataset::Load(config, Dataset::Kind::kAnswers, *tokenizer_);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    if (!dataset.ok()) return {};
    left_out_ = (*dataset)->left_out().pass_rate;
    std::vector<std::string> answers;
    for (uint64_t i = 0; i < (*dataset)->size(Split::kTrain); ++i) {
      answers.push_back((*dataset)->Prompt(Split::kTrain, 1, 0, i).answer);
    }
    return answers;
  }
  // Rows that SplitOf leaves in the training side.
  static v1::DataConfig Config(const std::string& extra_row = "") {
    std::string text;
    int i = 0;
    for (const int percent : {50, 0, 100, 25, 75, 25}) {
      std::string prompt;
      do {
        prompt = absl::StrCat("p", i++);
      } while (SplitOf(prompt) != Split::kTrain);
      absl::StrAppend(&text, "{\"prompt\": \"", prompt, "\", \"answer\": \"", percent,
                      "\", \"pass_rate\": ", percent / 100.0, "}\n");
    }
    const std::string path = JoinPath(testing::TempDir(), "pass_rates.jsonl");
    EXPECT_TRUE(WriteFileAtomically(RealFileSystem(), path, text + extra_row).ok());
    v1::DataConfig config;
    config.add_train_files(path);
    config.set_prompt_template("{prompt}");
    config.set_prompt_tokens_max(100);
    config.set_pass_rate_max(1);
    config.set_order("shuffled");
    return config;
  }

  const std::unique_ptr<Tokenizer> tokenizer_ =
      Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes")).value();
  uint64_t left_out_ = 0;
};

TEST_F(PassRateTest, CurriculaGoFromEasyToHardAndBack) {
  v1::DataConfig config = Config();
  config.set_order("easy_first");
  EXPECT_THAT(Order(config), testing::ElementsAre("100", "75", "50", "25", "25", "0"));
  config.set_order("hard_first");
  EXPECT_THAT(Order(config), testing::ElementsAre("0", "25", "25", "50", "75", "100"));
  config.set_order("shuffled");
  EXPECT_THAT(Order(config), testing::UnorderedElementsAre("0", "25", "25", "50", "75", "100"));
}

TEST_F(PassRateTest, WhatIsTooHardOrTooEasyIsLeftOutAndCounted) {
  v1::DataConfig config = Config();
  config.set_order("easy_first");
  config.set_pass_rate_min(0.25);
  config.set_pass_rate_max(0.75);
  EXPECT_THAT(Order(config), testing::ElementsAre("75", "50", "25", "25"));
  EXPECT_EQ(left_out_, 2u);
  config.set_pass_rate_min(0.3);
  config.set_pass_rate_max(0.4);
  const absl::Status none = Dataset::Load(config, Dataset::Kind::kAnswers, *tokenizer_).status();
  EXPECT_THAT(std::string(none.message()), testing::HasSubstr("6 have a pass_rate outside of 0.3"));
}

TEST_F(PassRateTest, RowsWithoutAPassRateMatterToCurriculaOnly) {
  v1::DataConfig config = Config("{\"prompt\": \"p0\", \"answer\": \"new\"}\n");
  config.set_pass_rate_min(0.9);
  EXPECT_THAT(Order(config), testing::UnorderedElementsAre("100", "new"));
  config.set_order("hard_first");
  const absl::Status status = Dataset::Load(config, Dataset::Kind::kAnswers, *tokenizer_).status();
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("pass_rates.jsonl:7: pass_rate"));
  config = Config("{\"prompt\": \"p0\", \"answer\": \"new\", \"pass_rate\": 1.5}\n");
  config.set_pass_rate_min(0.9);
  EXPECT_THAT(
      std::string(Dataset::Load(config, Dataset::Kind::kAnswers, *tokenizer_).status().message()),
      testing::HasSubstr("a number from 0 to 1"));
}

}  // namespace
}  // namespace r1
