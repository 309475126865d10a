#include "cli/evaluation/sample_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"

namespace r1::cli {
namespace {

using ::testing::HasSubstr;

class SampleLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "/sample_log");
    ASSERT_TRUE(RealFileSystem().RemoveAll(folder_).ok());
    ASSERT_TRUE(RealFileSystem().CreateDirectories(folder_).ok());
    path_ = JoinPath(folder_, "samples.jsonl");
  }

  std::unique_ptr<SampleLog> Open() {
    auto log = SampleLog::Open(folder_);
    EXPECT_TRUE(log.ok()) << log.status();
    return *std::move(log);
  }
  std::string Text() { return RealFileSystem().Read(path_, 1 << 20).value(); }
  void Write(const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), path_, text).ok());
  }

  static ScoredSample Sample(size_t problem, int sample, const std::string& text) {
    ScoredSample scored;
    scored.raw = {.id = {problem, sample},
                  .text = text,
                  .tokens = 5,
                  .finish_reason = "stop",
                  .think_prefilled = true};
    scored.problem_id = absl::StrCat("p", problem);
    scored.scores = {{"math", 1.0, "equal"}, {"code", std::nullopt, "infra_error"}};
    scored.extracted = "1";
    return scored;
  }

  std::string folder_, path_;
};

TEST_F(SampleLogTest, RowsComeBack) {
  auto log = Open();
  ScoredSample sample = Sample(3, 1, "line\nbreak \xE2\x80\xA8 \"quote\" \xC3\xA4");
  sample.raw.tokens.reset();
  sample.error = "code: no sandbox";
  ASSERT_TRUE(log->Append(sample).ok());
  log.reset();
  const auto again = Open();
  ASSERT_EQ(again->samples().size(), 1u);
  const ScoredSample& read = again->samples().at({3, 1});
  EXPECT_EQ(read.raw.text, sample.raw.text);
  EXPECT_EQ(read.problem_id, "p3");
  EXPECT_FALSE(read.raw.tokens.has_value());
  EXPECT_TRUE(read.raw.think_prefilled);
  EXPECT_EQ(read.scores[0].value, 1.0);
  EXPECT_FALSE(read.scores[1].value.has_value());
  EXPECT_EQ(read.scores[1].reason, "infra_error");
  EXPECT_EQ(read.error, sample.error);
}

TEST_F(SampleLogTest, ATornRowIsCutOffAtAnyByte) {
  {
    auto log = Open();
    ASSERT_TRUE(log->Append(Sample(0, 0, "first")).ok());
    ASSERT_TRUE(log->Append(Sample(0, 1, "second")).ok());
  }
  const std::string whole = Text();
  const size_t first = whole.find('\n') + 1;
  for (size_t bytes = first; bytes < whole.size(); ++bytes) {
    Write(whole.substr(0, bytes));
    auto log = Open();
    EXPECT_EQ(log->samples().size(), 1u) << bytes;
    ASSERT_TRUE(log->Append(Sample(0, 1, "second")).ok());
    log.reset();
    EXPECT_EQ(Text(), whole) << bytes;
  }
}

TEST_F(SampleLogTest, SortingGivesTheSameBytesForEveryOrder) {
  auto log = Open();
  for (const int sample : {2, 0, SampleId::kGreedy, 1}) {
    ASSERT_TRUE(log->Append(Sample(0, sample, absl::StrCat("s", sample))).ok());
  }
  ASSERT_TRUE(log->Append(Sample(0, 1, "s1 again")).ok());  // the later one counts
  ASSERT_TRUE(log->Sort().ok());
  const std::string sorted = Text();
  ASSERT_TRUE(log->Append(Sample(1, 0, "after")).ok());  // it stays open
  log.reset();
  EXPECT_EQ(Open()->samples().size(), 5u);

  ASSERT_TRUE(RealFileSystem().RemoveAll(path_).ok());
  log = Open();
  for (const int sample : {SampleId::kGreedy, 0, 1, 2}) {
    const std::string text = sample == 1 ? "s1 again" : absl::StrCat("s", sample);
    ASSERT_TRUE(log->Append(Sample(0, sample, text)).ok());
  }
  ASSERT_TRUE(log->Sort().ok());
  EXPECT_EQ(Text(), sorted);
}

TEST_F(SampleLogTest, AFileThatWasLeftUnsortedIsSortedLater) {
  auto log = Open();
  ASSERT_TRUE(log->Append(Sample(0, 1, "b")).ok());
  ASSERT_TRUE(log->Append(Sample(0, 0, "a")).ok());
  log = Open();
  const std::string unsorted = Text();
  ASSERT_TRUE(log->Sort().ok());
  EXPECT_NE(Text(), unsorted);
  EXPECT_EQ(Open()->samples().size(), 2u);
}

TEST_F(SampleLogTest, ARowInTheMiddleThatIsNoneIsNamed) {
  for (const char* bad : {"{}", "no json", "[]", R"({"index":-1,"sample":0})",
                          R"({"index":0,"sample":0,"problem":"p","text":1})"}) {
    Write(absl::StrCat(bad, "\n"));
    const auto log = SampleLog::Open(folder_);
    EXPECT_EQ(log.status().code(), absl::StatusCode::kDataLoss) << bad;
    EXPECT_THAT(std::string(log.status().message()), HasSubstr("samples.jsonl:1")) << bad;
  }
}

}  // namespace
}  // namespace r1::cli
