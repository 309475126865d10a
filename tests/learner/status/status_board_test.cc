// The board: phases, progress, what is awaited, samples, events, and many threads at once.

#include "learner/status/status_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "common/utf8.h"

namespace r1::learner {
namespace {

using testing::HasSubstr;

v1::WorkerStatus Worker(const std::string& id, bool connected = true) {
  v1::WorkerStatus worker;
  worker.set_worker_id(id);
  worker.set_connected(connected);
  return worker;
}

v1::SampleRecord Sample(int64_t step, uint64_t group, uint32_t index,
                        const std::string& text = "t") {
  v1::SampleRecord sample;
  sample.set_stage("rl");
  sample.set_step(step);
  sample.set_group_id(group);
  sample.set_sample_index(index);
  sample.set_purpose("train");
  sample.set_text(text);
  return sample;
}

MetricsRow Row(int64_t step, std::map<std::string, double> values) {
  return {
      .stage = "rl", .stage_index = 2, .step = step, .update = step, .values = std::move(values)};
}

class StatusBoardTest : public testing::Test {
 protected:
  StatusBoardTest() : board_(Options()) {}
  StatusBoardOptions Options() {
    StatusBoardOptions options;
    options.run_id = "run";
    options.incarnation = 3;
    options.stages = 3;
    options.seconds_before = 100;
    options.stall_seconds = 60;
    options.clock = &clock_;
    options.samples_bytes_max = 64 * 1024;
    options.events_max = 10;
    return options;
  }
  ManualClock clock_;
  StatusBoard board_;
};

TEST_F(StatusBoardTest, TheInnermostPhaseShowsWithItsAge) {
  EXPECT_EQ(board_.Status().phase(), "");
  {
    const PhaseScope outer(&board_, "generate");
    clock_.Advance(2);
    {
      const PhaseScope inner(&board_, "evaluate");
      clock_.Advance(3);
      EXPECT_EQ(board_.Status().phase(), "evaluate");
      EXPECT_EQ(board_.Status().phase_seconds(), 3);
    }
    EXPECT_EQ(board_.Status().phase(), "generate");
    EXPECT_EQ(board_.Status().phase_seconds(), 5);
  }
  EXPECT_EQ(board_.Status().phase(), "");
  const StatusTotals totals = board_.Totals();
  EXPECT_EQ(totals.phase_seconds.at("generate").sum(), 5);
  EXPECT_EQ(totals.phase_seconds.at("evaluate").sum(), 3);
}

TEST_F(StatusBoardTest, ScopesMayEndInAnyOrderAndANullBoardIsAllowed) {
  auto first = std::make_unique<PhaseScope>(&board_, "train");
  auto second = std::make_unique<PhaseScope>(&board_, "publish");
  first.reset();
  EXPECT_EQ(board_.Status().phase(), "publish");
  second.reset();
  EXPECT_EQ(board_.Status().phase(), "");
  const PhaseScope none(nullptr, "train");
}

TEST_F(StatusBoardTest, EtaFollowsTheSpeedOfRecentSteps) {
  board_.BeginStage("rl", 2, 100, 200);
  EXPECT_EQ(board_.Status().step(), 100);
  EXPECT_LT(board_.Status().eta_seconds(), 0);  // nothing is known yet
  clock_.Advance(4);
  board_.SetProgress(102, 102);
  EXPECT_DOUBLE_EQ(board_.Status().eta_seconds(), 98 * 2);
  clock_.Advance(1);
  EXPECT_DOUBLE_EQ(board_.Status().eta_seconds(), 98 * 2 - 1);
  EXPECT_DOUBLE_EQ(board_.Status().seconds_total(), 105);
  board_.BeginStage("open", 2, 0, 0);
  clock_.Advance(1);
  board_.SetProgress(1, 1);
  EXPECT_LT(board_.Status().eta_seconds(), 0);  // open-ended
}

TEST_F(StatusBoardTest, ReadinessNamesWhatStandsStill) {
  EXPECT_EQ(board_.Status().not_ready_reason(), "the run is starting");
  std::string awaited = "12 of 64 groups of step 31";
  bool connected = true;
  board_.SetLiveProvider([&] {
    LiveStatus live;
    live.workers.push_back(Worker("worker-1", connected));
    live.awaited = awaited;
    live.awaited_from = {"worker-1"};
    return live;
  });
  board_.BeginStage("rl", 2, 0, 100);
  const PhaseScope phase(&board_, "generate");
  EXPECT_TRUE(board_.Status().ready());
  clock_.Advance(59);
  EXPECT_TRUE(board_.Status().ready());
  clock_.Advance(2);
  EXPECT_EQ(board_.Status().not_ready_reason(),
            "nothing has moved for 61 s: phase generate, awaiting 12 of 64 groups of step 31 from "
            "worker-1");
  awaited = "11 of 64 groups of step 31";  // a group has come
  EXPECT_TRUE(board_.Status().ready());
  clock_.Advance(5);
  EXPECT_EQ(board_.Status().awaited_seconds(), 5);
  connected = false;
  EXPECT_THAT(board_.Status().not_ready_reason(), HasSubstr("no worker is connected; awaiting 11"));
  board_.SetState(RunState::kFailed, "three steps without a finite gradient");
  EXPECT_EQ(board_.Status().not_ready_reason(),
            "the run is failed: three steps without a finite gradient");
}

TEST_F(StatusBoardTest, AnOldProviderIsNeverCalledAgain) {
  std::atomic<bool> alive = true;
  std::atomic<bool> called_late = false;
  std::atomic<bool> stop = false;
  board_.SetLiveProvider([&] {
    if (!alive) called_late = true;
    return LiveStatus{};
  });
  std::thread reader([&] {
    while (!stop) (void)board_.Status();
  });
  board_.SetLiveProvider(nullptr);
  alive = false;
  for (int i = 0; i < 100; ++i) (void)board_.Status();
  stop = true;
  reader.join();
  EXPECT_FALSE(called_late);
}

TEST_F(StatusBoardTest, RestoredRowsContinueTheHistory) {
  board_.RestoreRows({Row(0, {{"reward/mean", 0.4}}), Row(1, {{"reward/mean", 0.5}})});
  board_.AddRow(Row(2, {{"reward/mean", 0.6}}));
  const v1::MetricsReply reply = *board_.Metrics({});
  EXPECT_EQ(reply.incarnation(), 3u);
  EXPECT_EQ(reply.rows(), 3);
  EXPECT_THAT(reply.series(0).value(), testing::ElementsAre(0.4, 0.5, 0.6));
  EXPECT_EQ(board_.Status().latest().at("reward/mean"), 0.6);
}

TEST_F(StatusBoardTest, NewestGroupsComeFirstAndWhole) {
  for (int64_t step = 0; step < 3; ++step) {
    std::vector<v1::SampleRecord> records;
    for (uint64_t group = 0; group < 2; ++group) {
      for (uint32_t i = 0; i < 3; ++i) records.push_back(Sample(step, 2 * step + group, i));
    }
    board_.AddSamples(records);
  }
  v1::SampleRecord evaluated = Sample(2, 0, 0);
  evaluated.set_purpose("eval");
  board_.AddSamples({evaluated});
  EXPECT_EQ(board_.Status().samples_total(), 19);

  v1::SamplesRequest request;
  request.set_step(-1);
  request.set_groups_max(2);
  v1::SamplesReply reply = *board_.Samples(request);
  ASSERT_EQ(reply.samples_size(), 4);
  EXPECT_EQ(reply.samples(0).purpose(), "eval");
  EXPECT_EQ(reply.samples(1).group_id(), 5u);
  EXPECT_EQ(reply.samples(3).sample_index(), 2u);
  ASSERT_EQ(reply.available_size(), 4);
  EXPECT_EQ(reply.available(1).step(), 2);
  EXPECT_EQ(reply.available(1).groups(), 2u);

  request.set_step(1);
  request.set_purpose("train");
  request.set_groups_max(0);
  reply = *board_.Samples(request);
  ASSERT_EQ(reply.samples_size(), 6);
  EXPECT_EQ(reply.samples(0).step(), 1);

  request.set_step(-2);
  EXPECT_EQ(board_.Samples(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_step(0);
  request.set_groups_max(1000);
  EXPECT_EQ(board_.Samples(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_groups_max(1);
  request.set_purpose("both");
  EXPECT_EQ(board_.Samples(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StatusBoardTest, OldGroupsMakeRoomForNewOnes) {
  for (int64_t step = 0; step < 100; ++step) {
    board_.AddSamples({Sample(step, step, 0, std::string(5000, 'x'))});
  }
  v1::SamplesRequest request;
  request.set_step(-1);
  request.set_groups_max(256);
  const v1::SamplesReply reply = *board_.Samples(request);
  EXPECT_LE(reply.samples_size(), 13);  // 64 KiB of 5 kB texts
  EXPECT_GE(reply.samples_size(), 8);
  EXPECT_EQ(reply.samples(0).step(), 99);
}

TEST_F(StatusBoardTest, TextBecomesValidUtf8AndBounded) {
  v1::SampleRecord sample = Sample(0, 0, 0, "\xFF<script>\xC3");
  sample.set_prompt(std::string(200'000, 'y'));
  sample.add_parts()->set_reason("\xC0");
  board_.AddSamples({sample});
  board_.AddEvent(LogLevel::kError, std::string(10'000, '\xFF'));
  board_.BeginStage("st\xFFge", 0, 0, 0);
  board_.AddRow(Row(0, {{"bad\xFFkey", 1}}));
  v1::SamplesRequest request;
  request.set_step(-1);
  const v1::SamplesReply reply = *board_.Samples(request);
  EXPECT_EQ(reply.samples(0).text(), "\xEF\xBF\xBD<script>\xEF\xBF\xBD");
  EXPECT_LT(reply.samples(0).prompt().size(), 70'000u);
  EXPECT_THAT(reply.samples(0).prompt(), HasSubstr("[134464 bytes more]"));
  EXPECT_TRUE(IsValidUtf8(reply.samples(0).parts(0).reason()));
  const v1::EventsReply events = *board_.Events({});
  EXPECT_TRUE(IsValidUtf8(events.events(0).text()));
  EXPECT_TRUE(IsValidUtf8(board_.Status().stage()));
  EXPECT_TRUE(IsValidUtf8(board_.Metrics({})->series(0).key()));
}

TEST_F(StatusBoardTest, EventsAreARingWithIdsThatGoOn) {
  for (int i = 0; i < 25; ++i) board_.AddEvent(LogLevel::kWarning, std::to_string(i));
  v1::EventsRequest request;
  v1::EventsReply reply = *board_.Events(request);
  ASSERT_EQ(reply.events_size(), 10);
  EXPECT_EQ(reply.events(0).id(), 16);
  EXPECT_EQ(reply.events(9).text(), "24");
  EXPECT_EQ(reply.events(9).level(), "warning");
  request.set_since(24);
  EXPECT_EQ(board_.Events(request)->events_size(), 1);
  EXPECT_EQ(board_.Status().last_event_id(), 25);
  request.set_since(-1);
  EXPECT_EQ(board_.Events(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StatusBoardTest, WarningsOfTheLogBecomeEvents) {
  {
    const LogEvents events(&board_);
    R1_LOG(kInfo) << "not an event";
    R1_LOG(kWarning) << "worker-3 is silent";
    R1_LOG(kError) << "disk full";
  }
  R1_LOG(kError) << "nobody looks any more";
  const v1::EventsReply reply = *board_.Events({});
  ASSERT_EQ(reply.events_size(), 2);
  EXPECT_EQ(reply.events(0).text(), "worker-3 is silent");
  EXPECT_EQ(reply.events(1).level(), "error");
}

TEST_F(StatusBoardTest, TotalsCountSamplesErrorsAndCheckpoints) {
  v1::SampleRecord bad = Sample(0, 0, 0);
  bad.set_tokens(40);
  bad.set_masked(true);
  v1::RewardPart& part = *bad.add_parts();
  part.set_name("code");
  part.set_reason("timeout");
  v1::SampleRecord wrong = Sample(0, 0, 1);
  wrong.set_tokens(2);
  wrong.add_parts()->set_reason("mismatch");  // judged, so no error
  board_.AddSamples({bad, wrong});
  board_.CountNonfinite("gradient");
  board_.CountNonfinite("gradient");
  board_.RecordCheckpoint("02_rl_step_000010", 1000);
  for (int i = 0; i < 200; ++i) board_.CountNonfinite("where" + std::to_string(i));
  const StatusTotals totals = board_.Totals();
  EXPECT_EQ(totals.samples, 2u);
  EXPECT_EQ(totals.masked_samples, 1u);
  EXPECT_EQ(totals.generated_tokens, 42u);
  EXPECT_EQ(totals.reward_errors.size(), 1u);
  EXPECT_EQ(totals.reward_errors.at({"code", "timeout"}), 1u);
  EXPECT_EQ(totals.nonfinite.at("gradient"), 2u);
  EXPECT_LE(totals.nonfinite.size(), 65u);  // labels are bounded
  EXPECT_EQ(totals.checkpoint_bytes, 1000u);
  EXPECT_GT(totals.checkpoint_unix_seconds, 1.6e9);
}

// Writers and readers on the real clock; what is read must always be consistent.
TEST(StatusBoardThreadsTest, ReadersSeeWholeRowsWhileWritersWrite) {
  StatusBoardOptions options;
  options.metrics = {.points_max = 128, .series_max = 16};
  StatusBoard board(options);
  board.SetLiveProvider([] {
    LiveStatus live;
    live.workers = {Worker("b"), Worker("a")};
    return live;
  });
  board.BeginStage("rl", 0, 0, 0);
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (int64_t i = 0; !stop; ++i) {
      const double x = static_cast<double>(i);
      board.AddRow(Row(i, {{"a", x}, {"b", -x}}));
      board.SetProgress(i, i);
    }
  });
  threads.emplace_back([&] {
    for (int64_t i = 0; !stop; ++i) {
      const PhaseScope phase(&board, "train");
      board.AddSamples({Sample(i, 0, 0), Sample(i, 0, 1)});
      board.AddEvent(LogLevel::kInfo, "event");
    }
  });
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      while (!stop) {
        const v1::RunStatus status = board.Status();
        ASSERT_EQ(status.workers(0).worker_id(), "a");
        if (status.latest().count("a") == 1) {
          ASSERT_EQ(status.latest().at("a"), -status.latest().at("b"));
        }
        const v1::MetricsReply metrics = *board.Metrics({});
        if (metrics.series_size() == 2) {
          const auto& a = metrics.series(0);
          ASSERT_EQ(a.row_size(), a.value_size());
          ASSERT_EQ(a.row(a.row_size() - 1), static_cast<uint32_t>(metrics.rows()));
        }
        v1::SamplesRequest request;
        request.set_step(-1);
        ASSERT_EQ(board.Samples(request)->samples_size() % 2, 0);
        (void)board.Totals();
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(board.Status().metrics_rows(), 100);
}

}  // namespace
}  // namespace r1::learner
