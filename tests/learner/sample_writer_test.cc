// Sample files: content, limits, atomicity, and what a resume leaves.

#include "learner/sample_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdio>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/json.h"
#include "common/rng.h"
#include "tests/common/fault_filesystem.h"

namespace r1::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::SampleRecord Record(const std::string& text) {
  v1::SampleRecord record;
  record.set_group_id(7);
  record.set_sample_index(3);
  record.set_prompt("1+1=");
  record.set_answer("2");
  record.set_text(text);
  record.set_tokens(5);
  record.set_reward(0.9);
  record.set_advantage(-0.25);
  record.set_policy_version(41);
  record.set_finish_reason(v1::FINISH_REASON_STOP);
  v1::RewardPart* part = record.add_parts();
  part->set_name("exact_match");
  part->set_value(1);
  part->set_reason("equal");
  return record;
}

SampleBatch Batch(int64_t step, const std::string& eval_set = "") {
  return {"rl", 2, step, eval_set, {Record(absl::StrCat("text of step ", step))}};
}

std::string Decompress(const std::string& compressed) {
  std::string text(ZSTD_getFrameContentSize(compressed.data(), compressed.size()), '\0');
  R1_CHECK(ZSTD_decompress(text.data(), text.size(), compressed.data(), compressed.size()) ==
           text.size());
  return text;
}

std::unique_ptr<SampleWriter> OpenWriter(FileSystem& files, uint64_t bytes_max = 1 << 20,
                                         int64_t every_n = 20) {
  auto writer =
      SampleWriter::Open(files, {.folder = "samples", .bytes_max = bytes_max, .every_n = every_n});
  R1_CHECK(writer.ok());
  return *std::move(writer);
}

TEST(SampleWriterTest, OneJsonObjectASample) {
  FaultFileSystem files;
  const auto writer = OpenWriter(files);
  SampleBatch batch = Batch(120);
  batch.samples.push_back(Record("second"));
  ASSERT_TRUE(*writer->Write(batch));
  EXPECT_THAT(*files.List("samples"), ElementsAre("02_rl_step_000120.jsonl.zst"));
  EXPECT_EQ(Decompress(*files.Read("samples/02_rl_step_000120.jsonl.zst", 10000)),
            R"({"stage":"rl","step":120,"purpose":"train","group_id":7,"sample_index":3,)"
            R"("prompt":"1+1=","think_prefilled":false,"answer":"2","text":"text of step 120",)"
            R"("tokens":5,"reward":0.9,"masked":false,"parts":[{"name":"exact_match",)"
            R"("value":1.0,"reason":"equal"}],"advantage":-0.25,"policy_version":41,)"
            R"("finish_reason":"stop"})"
            "\n" +
                FormatSample(batch, batch.samples[1]));
}

TEST(SampleWriterTest, EvaluationsHaveFilesOfTheirOwn) {
  FaultFileSystem files;
  const auto writer = OpenWriter(files);
  ASSERT_TRUE(*writer->Write(Batch(10, "held_out")));
  const auto line = ParseJson(
      Decompress(*files.Read("samples/02_rl_step_000010.eval_held_out.jsonl.zst", 10000)), "line");
  ASSERT_TRUE(line.ok());
  EXPECT_EQ((*line)["purpose"], "eval");
  EXPECT_EQ((*line)["eval_set"], "held_out");
  EXPECT_FALSE(line->contains("advantage"));
}

TEST(SampleWriterTest, NothingInATextBreaksTheJson) {
  Rng rng(5, 0, RngPurpose::kTest, 0, 0);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (uint64_t n = rng.NextBelow(40); n > 0; --n) {
      text.push_back(static_cast<char>(rng.NextBelow(256)));
    }
    v1::SampleRecord record = Record(text);
    record.set_prompt(text);
    record.mutable_parts(0)->set_reason(text);
    record.set_reward(std::numeric_limits<double>::quiet_NaN());
    const std::string line = FormatSample(Batch(1), record);
    ASSERT_EQ(line.find('\n'), line.size() - 1);
    const auto parsed = ParseJson(line, "line");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE((*parsed)["reward"].is_null());
  }
  const auto parsed = ParseJson(FormatSample(Batch(1), Record("a\xff\xfe\"b\n</script>")), "line");
  EXPECT_EQ((*parsed)["text"], "a\xef\xbf\xbd\xef\xbf\xbd\"b\n</script>");
}

TEST(SampleWriterTest, BeyondTheLimitOnlyEveryNthStepIsKept) {
  FaultFileSystem files;
  const auto writer = OpenWriter(files, 1000, 5);
  uint64_t bytes = 0;
  int below = 0, beyond = 0;
  for (int64_t step = 1; step <= 30; ++step) {
    const bool expected = bytes < 1000 || step % 5 == 0;
    (bytes < 1000 ? below : beyond) += expected ? 1 : 0;
    ASSERT_EQ(*writer->Write(Batch(step)), expected) << step;
    if (expected) {
      bytes += *files.Size(absl::StrFormat("samples/02_rl_step_%06d.jsonl.zst", step));
    }
    EXPECT_EQ(writer->bytes(), bytes);
  }
  EXPECT_GT(below, 2);
  EXPECT_GT(beyond, 2);
}

TEST(SampleWriterTest, AResumedRunKeepsTheSameSteps) {
  constexpr uint64_t kBytesMax = 1500;
  FaultFileSystem undisturbed;
  const auto straight = OpenWriter(undisturbed, kBytesMax, 5);
  for (int64_t step = 1; step <= 30; ++step) ASSERT_TRUE(straight->Write(Batch(step)).ok());

  for (int64_t checkpoint = 0; checkpoint <= 30; checkpoint += 3) {
    FaultFileSystem files;
    {
      const auto writer = OpenWriter(files, kBytesMax, 5);
      for (int64_t step = 1; step <= checkpoint + 4; ++step)
        ASSERT_TRUE(writer->Write(Batch(step)).ok());
    }
    v1::CheckpointState state;
    state.set_stage_index(2);
    state.set_step(checkpoint);
    ASSERT_TRUE(CutBackSamples(files, "samples", &state).ok());
    const auto writer = OpenWriter(files, kBytesMax, 5);
    for (int64_t step = checkpoint + 1; step <= 30; ++step)
      ASSERT_TRUE(writer->Write(Batch(step)).ok());
    EXPECT_EQ(*files.List("samples"), *undisturbed.List("samples")) << checkpoint;
    EXPECT_EQ(writer->bytes(), straight->bytes());
  }
}

TEST(SampleWriterTest, WritingAStepAgainCountsItOnce) {
  FaultFileSystem files;
  const auto writer = OpenWriter(files);
  ASSERT_TRUE(*writer->Write(Batch(1)));
  const uint64_t bytes = writer->bytes();
  ASSERT_TRUE(*writer->Write(Batch(1)));
  EXPECT_EQ(writer->bytes(), bytes);
}

TEST(SampleWriterTest, CutBackRemovesWhatComesAfterTheCheckpoint) {
  FaultFileSystem files;
  const auto writer = OpenWriter(files);
  for (const int64_t step : {1, 2, 3}) {
    ASSERT_TRUE(*writer->Write(Batch(step)));
    ASSERT_TRUE(*writer->Write(Batch(step, "held_out")));
  }
  SampleBatch later = Batch(1);
  later.stage_index = 3;
  later.stage = "next";
  ASSERT_TRUE(*writer->Write(later));
  ASSERT_TRUE(files.Create("samples/02_rl_step_000001.jsonl.zst.tmp").ok());
  ASSERT_TRUE(files.Create("samples/mine.txt").ok());

  v1::CheckpointState state;
  state.set_stage_index(2);
  state.set_step(2);
  v1::PendingEval* pending = state.add_pending_evals();  // its samples will be written again
  pending->set_set("held_out");
  pending->set_step(2);
  ASSERT_TRUE(CutBackSamples(files, "samples", &state).ok());
  EXPECT_THAT(*files.List("samples"), ElementsAre("02_rl_step_000001.eval_held_out.jsonl.zst",
                                                  "02_rl_step_000001.jsonl.zst",
                                                  "02_rl_step_000002.jsonl.zst", "mine.txt"));
  ASSERT_TRUE(CutBackSamples(files, "samples", nullptr).ok());
  EXPECT_THAT(*files.List("samples"), ElementsAre("mine.txt"));
  EXPECT_TRUE(CutBackSamples(files, "nowhere", nullptr).ok());
}

TEST(SampleWriterTest, AnErrorLeavesNeitherHalfAFileNorATemporary) {
  for (int operation = 0;; ++operation) {
    FaultFileSystem files;
    const auto writer = OpenWriter(files);
    const int first = files.operations();
    files.FailAt(first + operation, FaultFileSystem::Fault::kDiskFull);
    const auto written = writer->Write(Batch(1));
    if (files.operations() <= first + operation) break;
    if (!written.ok()) {
      EXPECT_THAT(*files.List("samples"), IsEmpty()) << operation;
      EXPECT_EQ(writer->bytes(), 0u);
    }
    ASSERT_TRUE(*writer->Write(Batch(2)));
    EXPECT_FALSE(Decompress(*files.Read("samples/02_rl_step_000002.jsonl.zst", 10000)).empty());
  }
}

TEST(SampleWriterTest, SyncedSamplesSurviveAPowerCut) {
  FaultFileSystem files;
  const auto writer = OpenWriter(files);
  ASSERT_TRUE(files.SyncDirectory("").ok());
  ASSERT_TRUE(*writer->Write(Batch(1)));
  ASSERT_TRUE(writer->Sync().ok());
  ASSERT_TRUE(*writer->Write(Batch(2)));
  const auto after = files.AfterPowerLoss([] { return 0.0; });
  EXPECT_THAT(*after->List("samples"), ElementsAre("02_rl_step_000001.jsonl.zst"));
  EXPECT_EQ(Decompress(*after->Read("samples/02_rl_step_000001.jsonl.zst", 10000)),
            FormatSample(Batch(1), Batch(1).samples[0]));
}

}  // namespace
}  // namespace r1::learner
