// Pool and workers over real loopback sockets, with the toy engine: steps and evaluations complete
// with the right tokens whatever happens to workers, ranks and messages.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/log.h"
#include "learner/rollout_pool_options.h"
#include "tests/integration/toy_worker.h"

namespace r1 {
namespace {

using learner::RolloutPool;
using learner::RolloutPoolOptions;
using testing::HasSubstr;

constexpr uint32_t kSamples = 4;

RolloutPoolOptions Options() {
  RolloutPoolOptions options;
  options.run.set_run_id("run");
  options.run.set_incarnation(3);
  options.numerics = rollout::ToyStage(0).numerics();
  options.lease_timeout_seconds = 30;
  options.worker_timeout_seconds = 5;
  return options;
}

std::unique_ptr<RolloutPool> StartPool(const RolloutPoolOptions& options = Options()) {
  auto pool = learner::StartRolloutPool(options);
  R1_CHECK(pool.ok());
  return *std::move(pool);
}

// A worker on a thread of its own.
class TestWorker {
 public:
  TestWorker(const std::string& address, rollout::WorkerParts parts, double retry_seconds = 5)
      : thread_([this, address, parts = std::move(parts), retry_seconds] {
          status_ = rollout::RunWorkerWith({.learner = address,
                                            .build = "test",
                                            .host = "here",
                                            .threads = 0,
                                            .connect_timeout_seconds = retry_seconds,
                                            .retry_seconds = retry_seconds},
                                           parts, stop_);
        }) {}
  ~TestWorker() { Stop().IgnoreError(); }

  absl::Status Stop() {
    stop_.Raise();
    return Wait();
  }
  absl::Status Wait() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }

 private:
  StopSignal stop_;
  absl::Status status_;
  std::thread thread_;
};

std::vector<v1::Lease> TrainLeases(uint64_t first, uint64_t count, uint64_t version,
                                   uint32_t ranks = 1) {
  std::vector<v1::Lease> leases;
  for (uint64_t i = 0; i < count; ++i) {
    leases.push_back(rollout::ToyLease(v1::PURPOSE_TRAIN, first + i, version, kSamples));
    leases.back().set_learner_rank(static_cast<uint32_t>(i % ranks));
  }
  return leases;
}

// Every wanted sample is there, once, with the tokens that the toy engine must generate.
void ExpectRight(const std::vector<v1::Group>& groups, size_t count, uint64_t version) {
  ASSERT_EQ(groups.size(), count);
  for (const v1::Group& group : groups) {
    EXPECT_EQ(group.policy_version(), version);
    ASSERT_EQ(group.samples_size(), static_cast<int>(kSamples));
    for (uint32_t i = 0; i < kSamples; ++i) {
      const v1::Sample& sample = group.samples(i);
      EXPECT_EQ(sample.sample_index(), i);
      EXPECT_EQ(std::vector<int32_t>(sample.token_ids().begin(), sample.token_ids().end()),
                rollout::ToyExpected(group, i));
      ASSERT_EQ(sample.parts_size(), 1);
      EXPECT_EQ(sample.reward(), 2 * sample.parts(0).value());
      const bool stopped = sample.finish_reason() == v1::FINISH_REASON_STOP;
      EXPECT_EQ(sample.text().size(), sample.token_ids_size() - (stopped ? 1 : 0));
    }
  }
}

class WorkerPoolTest : public testing::Test {
 protected:
  WorkerPoolTest() { SetLogLevel(LogLevel::kError); }
  ~WorkerPoolTest() override { SetLogLevel(LogLevel::kInfo); }

  void Begin(RolloutPool& pool, uint32_t stage_index = 0) {
    ASSERT_EQ(pool.BeginStage(rollout::ToyStage(stage_index)), absl::OkStatus());
  }
  void OfferStep(RolloutPool& pool, uint64_t step, uint64_t groups, uint64_t version) {
    pool.Publish(rollout::ToyWeights(version));
    ASSERT_EQ(pool.Offer(step, TrainLeases(100 * step, groups, version)), absl::OkStatus());
  }
  void FinishStep(RolloutPool& pool, uint64_t step, uint64_t groups, uint64_t version) {
    const auto result = pool.AwaitTrainStep(step, stop_);
    ASSERT_EQ(result.status(), absl::OkStatus());
    ExpectRight(result->groups, groups, version);
    pool.RetireStep(step, 0);
  }

  StopSignal stop_;
};

TEST_F(WorkerPoolTest, StepsAndEvaluationsComplete) {
  const auto pool = StartPool();
  Begin(*pool);
  TestWorker one(pool->address(), rollout::ToyParts());
  TestWorker two(pool->address(), rollout::ToyParts());
  for (uint64_t step = 1; step <= 5; ++step) {
    OfferStep(*pool, step, 16, step);
    std::vector<v1::Lease> evals;
    for (uint64_t i = 0; i < 8; ++i) {
      evals.push_back(rollout::ToyLease(v1::PURPOSE_EVAL, 8 * step + i, step, kSamples));
    }
    ASSERT_EQ(pool->Offer(0, evals), absl::OkStatus());
    FinishStep(*pool, step, 16, step);
    const auto groups = pool->AwaitEval(8 * step, 8, stop_);
    ASSERT_EQ(groups.status(), absl::OkStatus());
    ExpectRight(*groups, 8, step);
  }
  EXPECT_EQ(pool->counters().trained(), 80u);
  EXPECT_EQ(pool->counters().evaluated(), 40u);
  EXPECT_EQ(pool->counters().leased(), 120u);
  EXPECT_EQ(pool->workers().size(), 2u);
  EXPECT_TRUE(pool->awaited().what.empty());
  pool->Finish(5);
  EXPECT_EQ(one.Wait(), absl::OkStatus());
  EXPECT_EQ(two.Wait(), absl::OkStatus());
}

// The size of the default run's step: 64 groups of 8 samples, 1.7 MB of weights, two workers. The
// engine takes no time, so that what is left is overhead; the aim is 10 ms, the bound leaves room
// for a loaded machine.
TEST_F(WorkerPoolTest, OverheadOfAStepIsSmall) {
  const auto pool = StartPool();
  Begin(*pool);
  TestWorker one(pool->address(), rollout::ToyParts());
  TestWorker two(pool->address(), rollout::ToyParts());
  std::vector<double> seconds;
  for (uint64_t step = 1; step <= 40; ++step) {
    const auto weights = rollout::ToyWeights(step, 425'000);
    std::vector<v1::Lease> leases;
    for (uint64_t i = 0; i < 64; ++i) {
      leases.push_back(rollout::ToyLease(v1::PURPOSE_TRAIN, 100 * step + i, step, 8));
    }
    const double begin = RealClock().MonotonicSeconds();
    pool->Publish(weights);
    ASSERT_EQ(pool->Offer(step, std::move(leases)), absl::OkStatus());
    const auto result = pool->AwaitTrainStep(step, stop_);
    seconds.push_back(RealClock().MonotonicSeconds() - begin);
    ASSERT_EQ(result.status(), absl::OkStatus());
    ASSERT_EQ(result->groups.size(), 64u);
    pool->RetireStep(step, 0);
    absl::SleepFor(absl::Milliseconds(5));  // the learner trains
  }
  std::sort(seconds.begin(), seconds.end());
  std::cout << "step overhead, ms: least " << 1e3 * seconds.front() << ", median "
            << 1e3 * seconds[seconds.size() / 2] << ", most " << 1e3 * seconds.back() << std::endl;
  EXPECT_LT(seconds[seconds.size() / 2], 0.1);
}

TEST_F(WorkerPoolTest, StageChangeRebuildsTheEngine) {
  const auto pool = StartPool();
  TestWorker worker(pool->address(), rollout::ToyParts());
  for (const uint32_t stage : {0u, 1u}) {
    Begin(*pool, stage);
    pool->Publish(rollout::ToyWeights(5 + stage));
    std::vector<v1::Lease> leases;
    for (uint64_t i = 0; i < 4; ++i) {
      leases.push_back(rollout::ToyLease(v1::PURPOSE_TRAIN, i, 5 + stage, kSamples, stage));
    }
    ASSERT_EQ(pool->Offer(1, leases), absl::OkStatus());
    FinishStep(*pool, 1, 4, 5 + stage);
  }
}

TEST_F(WorkerPoolTest, OlderVersionsAreKeptUntilTheirGroupsAreDone) {
  const auto pool = StartPool();
  Begin(*pool);
  OfferStep(*pool, 1, 4, 1);
  OfferStep(*pool, 2, 4, 2);
  OfferStep(*pool, 3, 4, 3);
  EXPECT_EQ(pool->LeasedVersions().size(), 2u);
  TestWorker worker(pool->address(), rollout::ToyParts());
  for (uint64_t step = 1; step <= 3; ++step) FinishStep(*pool, step, 4, step);
  EXPECT_TRUE(pool->LeasedVersions().empty());
}

TEST_F(WorkerPoolTest, StopHandsLeasesBackWithinTwoSeconds) {
  const auto pool = StartPool();
  Begin(*pool);
  OfferStep(*pool, 1, 8, 1);
  TestWorker slow(pool->address(), rollout::ToyParts(/*step_seconds=*/0.3));
  while (pool->workers().empty() || pool->workers()[0].leased_groups() == 0) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  const double begin = RealClock().MonotonicSeconds();
  EXPECT_EQ(slow.Stop(), absl::OkStatus());
  EXPECT_LT(RealClock().MonotonicSeconds() - begin, 2);
  EXPECT_TRUE(pool->workers().empty());
  TestWorker quick(pool->address(), rollout::ToyParts());
  FinishStep(*pool, 1, 8, 1);
  EXPECT_EQ(pool->counters().conflicts(), 0u);
}

// Between worker and learner: faults on demand.
struct Faults {
  std::atomic<bool> dead{false};           // every call fails, as if the process were gone
  std::atomic<bool> frozen{false};         // heartbeats and groups stay behind
  std::atomic<int> corrupt_chunks{0};      // so many chunks get a flipped bit
  std::atomic<int> cut_transfers{0};       // so many transfers break after their first chunk
  std::atomic<int> lost_lease_replies{0};  // so many replies with leases are lost
  std::atomic<uint64_t> wrong_incarnation{0};
};

class FaultyStream : public rollout::GroupStream {
 public:
  FaultyStream(std::unique_ptr<rollout::GroupStream> real, Faults& faults)
      : real_(std::move(real)), faults_(faults) {}
  bool Write(const v1::Group& group) override {
    while (faults_.frozen && !faults_.dead) absl::SleepFor(absl::Milliseconds(5));
    if (faults_.dead) {
      real_->Cancel();
      return false;
    }
    return real_->Write(group);
  }
  bool Read(v1::GroupAck& ack) override { return real_->Read(ack); }
  void Cancel() override { real_->Cancel(); }
  absl::Status Finish() override { return real_->Finish(); }

 private:
  const std::unique_ptr<rollout::GroupStream> real_;
  Faults& faults_;
};

class FaultyTransport : public rollout::LearnerTransport {
 public:
  FaultyTransport(std::unique_ptr<rollout::LearnerTransport> real, Faults& faults)
      : real_(std::move(real)), faults_(faults) {}

  const std::string& address() const override { return real_->address(); }
  absl::StatusOr<v1::JoinReply> Join(const v1::JoinRequest& request) override {
    if (faults_.dead) return absl::UnavailableError("dead");
    auto reply = real_->Join(request);
    const uint64_t wrong = faults_.wrong_incarnation.exchange(0);
    if (reply.ok() && wrong != 0) reply->mutable_run()->set_incarnation(wrong);
    return reply;
  }
  absl::StatusOr<v1::StageSpecReply> GetStageSpec(const v1::StageSpecRequest& request) override {
    if (faults_.dead) return absl::UnavailableError("dead");
    return real_->GetStageSpec(request);
  }
  absl::StatusOr<v1::AcquireLeasesReply> AcquireLeases(
      const v1::AcquireLeasesRequest& request) override {
    if (faults_.dead) return absl::UnavailableError("dead");
    auto reply = real_->AcquireLeases(request);
    if (reply.ok() && !reply->leases().empty() && faults_.lost_lease_replies > 0) {
      --faults_.lost_lease_replies;
      return absl::UnavailableError("reply lost");
    }
    return reply;
  }
  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::HeartbeatRequest& request) override {
    while (faults_.frozen && !faults_.dead) absl::SleepFor(absl::Milliseconds(5));
    if (faults_.dead) return absl::UnavailableError("dead");
    return real_->Heartbeat(request);
  }
  absl::Status Leave(const v1::LeaveRequest& request) override {
    if (faults_.dead) return absl::UnavailableError("dead");
    return real_->Leave(request);
  }
  absl::StatusOr<v1::WeightManifest> GetManifest(
      const v1::WeightManifestRequest& request) override {
    return real_->GetManifest(request);
  }
  absl::Status GetChunks(const v1::WeightChunksRequest& request, const ChunkSink& sink) override {
    const bool cut = faults_.cut_transfers > 0 && faults_.cut_transfers-- > 0;
    offsets_.push_back(request.offset());
    int chunks = 0;
    return real_->GetChunks(request, [&](v1::WeightChunk chunk) -> absl::Status {
      if (cut && chunks++ == 1) return absl::UnavailableError("cut");
      if (faults_.corrupt_chunks > 0 && faults_.corrupt_chunks-- > 0) {
        (*chunk.mutable_data())[chunk.data().size() / 2] ^= 1;
      }
      return sink(chunk);
    });
  }
  absl::StatusOr<std::unique_ptr<rollout::GroupStream>> OpenGroupStream(
      const std::string& address, const v1::RunIdentity& run,
      const std::string& worker_id) override {
    if (faults_.dead) return absl::UnavailableError("dead");
    R1_ASSIGN_OR_RETURN(auto stream, real_->OpenGroupStream(address, run, worker_id));
    return std::make_unique<FaultyStream>(std::move(stream), faults_);
  }
  void CancelCalls() override { real_->CancelCalls(); }

 private:
  const std::unique_ptr<rollout::LearnerTransport> real_;
  Faults& faults_;
  std::vector<uint64_t> offsets_;
};

rollout::WorkerParts FaultyParts(Faults& faults, double step_seconds = 0) {
  rollout::WorkerParts parts = rollout::ToyParts(step_seconds);
  parts.connect = [&faults](const std::string& address)
      -> absl::StatusOr<std::unique_ptr<rollout::LearnerTransport>> {
    R1_ASSIGN_OR_RETURN(auto real, rollout::MakeLearnerClient(address));
    return std::make_unique<FaultyTransport>(std::move(real), faults);
  };
  return parts;
}

void WaitUntilLeased(const RolloutPool& pool) {
  for (int i = 0; i < 1000; ++i) {
    for (const v1::WorkerStatus& worker : pool.workers()) {
      if (worker.leased_groups() > 0) return;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  FAIL() << "nobody took a lease within 5 s";
}

TEST_F(WorkerPoolTest, KilledWorkersGroupsAreDoneByAnother) {
  RolloutPoolOptions options = Options();
  options.worker_timeout_seconds = 1;
  const auto pool = StartPool(options);
  Begin(*pool);
  OfferStep(*pool, 1, 8, 1);
  Faults faults;
  TestWorker victim(pool->address(), FaultyParts(faults, /*step_seconds=*/0.05),
                    /*retry_seconds=*/0.5);
  WaitUntilLeased(*pool);
  faults.dead = true;
  const double begin = RealClock().MonotonicSeconds();
  TestWorker other(pool->address(), rollout::ToyParts());
  FinishStep(*pool, 1, 8, 1);
  EXPECT_LT(RealClock().MonotonicSeconds() - begin, 3);
  EXPECT_EQ(victim.Wait().code(), absl::StatusCode::kUnavailable);
}

TEST_F(WorkerPoolTest, StalledWorkerComesBackAndItsGroupsAreDuplicatesOrRefused) {
  RolloutPoolOptions options = Options();
  options.worker_timeout_seconds = 0.5;
  const auto pool = StartPool(options);
  Begin(*pool);
  OfferStep(*pool, 1, 8, 1);
  Faults faults;
  faults.frozen = true;
  TestWorker stalled(pool->address(), FaultyParts(faults));
  WaitUntilLeased(*pool);
  TestWorker other(pool->address(), rollout::ToyParts());
  // The step completes without the stalled worker; its groups arrive before and after retirement.
  const auto result = pool->AwaitTrainStep(1, stop_);
  ASSERT_EQ(result.status(), absl::OkStatus());
  ExpectRight(result->groups, 8, 1);
  faults.frozen = false;
  for (int i = 0; i < 1000 && pool->counters().duplicates() == 0; ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_GT(pool->counters().duplicates(), 0u);
  pool->RetireStep(1, 0);
  OfferStep(*pool, 2, 8, 2);
  FinishStep(*pool, 2, 8, 2);
  EXPECT_EQ(pool->counters().conflicts(), 0u);
  EXPECT_EQ(pool->counters().trained(), 16u);
  EXPECT_EQ(stalled.Stop(), absl::OkStatus());
}

TEST_F(WorkerPoolTest, CorruptChunkIsFetchedAgain) {
  const auto pool = StartPool();
  Begin(*pool);
  Faults faults;
  faults.corrupt_chunks = 2;
  TestWorker worker(pool->address(), FaultyParts(faults));
  OfferStep(*pool, 1, 4, 1);
  FinishStep(*pool, 1, 4, 1);
  EXPECT_EQ(faults.corrupt_chunks, 0);
}

TEST_F(WorkerPoolTest, CorruptThreeTimesEndsTheWorker) {
  const auto pool = StartPool();
  Begin(*pool);
  Faults faults;
  faults.corrupt_chunks = 3;
  TestWorker worker(pool->address(), FaultyParts(faults));
  OfferStep(*pool, 1, 4, 1);
  const absl::Status status = worker.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("corrupt 3 times"));
  TestWorker healthy(pool->address(), rollout::ToyParts());
  FinishStep(*pool, 1, 4, 1);
}

TEST_F(WorkerPoolTest, BrokenTransferContinuesAtItsOffset) {
  const auto pool = StartPool();
  Begin(*pool);
  Faults faults;
  faults.cut_transfers = 3;
  TestWorker worker(pool->address(), FaultyParts(faults));
  pool->Publish(rollout::ToyWeights(1, /*elements=*/(5 << 20) / 4));
  ASSERT_EQ(pool->Offer(1, TrainLeases(100, 4, 1)), absl::OkStatus());
  FinishStep(*pool, 1, 4, 1);
  EXPECT_EQ(faults.cut_transfers, 0);
}

TEST_F(WorkerPoolTest, LostLeaseReplyIsNoticedAtTheNextCall) {
  const auto pool = StartPool();
  Begin(*pool);
  Faults faults;
  faults.lost_lease_replies = 1;
  TestWorker worker(pool->address(), FaultyParts(faults));
  OfferStep(*pool, 1, 4, 1);
  const double begin = RealClock().MonotonicSeconds();
  FinishStep(*pool, 1, 4, 1);
  EXPECT_LT(RealClock().MonotonicSeconds() - begin, 3);  // and not the lease timeout of 30 s
}

TEST_F(WorkerPoolTest, WorkerOfAnotherIncarnationJoinsAgain) {
  const auto pool = StartPool();
  Begin(*pool);
  Faults faults;
  faults.wrong_incarnation = 2;
  TestWorker worker(pool->address(), FaultyParts(faults));
  OfferStep(*pool, 1, 4, 1);
  FinishStep(*pool, 1, 4, 1);
}

TEST_F(WorkerPoolTest, RestartedLearnerIsJoinedFromScratch) {
  auto pool = StartPool();
  Begin(*pool);
  RolloutPoolOptions options = Options();
  options.address = pool->address();
  options.run.set_incarnation(4);
  TestWorker worker(pool->address(), rollout::ToyParts());
  OfferStep(*pool, 1, 8, 1);
  FinishStep(*pool, 1, 8, 1);
  OfferStep(*pool, 2, 8, 2);
  v1::CheckpointState state;
  std::vector<v1::Group> accepted;
  ASSERT_EQ(pool->AwaitTrainStep(2, stop_).status(), absl::OkStatus());
  pool->Save(state, accepted);
  EXPECT_EQ(accepted.size(), 8u);
  EXPECT_EQ(state.planned_size(), 8);
  accepted.resize(5);  // as if the checkpoint had been written a moment before
  pool.reset();
  pool = StartPool(options);
  ASSERT_EQ(pool->Restore(state, accepted), absl::OkStatus());
  Begin(*pool);
  OfferStep(*pool, 2, 8, 2);
  FinishStep(*pool, 2, 8, 2);
  EXPECT_EQ(pool->counters().trained(), 16u);
  EXPECT_EQ(pool->counters().leased(), 16u);
}

TEST_F(WorkerPoolTest, PoisonedGroupEndsTheRunWithItsName) {
  RolloutPoolOptions options = Options();
  options.attempts_max = 2;
  const auto pool = StartPool(options);
  Begin(*pool);
  pool->Publish(rollout::ToyWeights(1));
  std::vector<v1::Lease> leases = TrainLeases(100, 1, 1);
  leases[0].set_prompt_ids(0, rollout::ToyEngine::kToyPoison);
  ASSERT_EQ(pool->Offer(1, leases), absl::OkStatus());
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = TestWorker(pool->address(), rollout::ToyParts()).Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr("poisoned prompt"));
  }
  const auto step = pool->AwaitTrainStep(1, stop_);
  EXPECT_EQ(step.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(step.status().message()), HasSubstr("TRAIN group 100 of stage 0"));
}

TEST_F(WorkerPoolTest, RewardThatThrowsEndsTheWorkerByName) {
  const auto pool = StartPool();
  Begin(*pool);
  pool->Publish(rollout::ToyWeights(1));
  std::vector<v1::Lease> leases = TrainLeases(100, 1, 1);
  leases[0].set_columns_json("throw");
  ASSERT_EQ(pool->Offer(1, leases), absl::OkStatus());
  const absl::Status status = TestWorker(pool->address(), rollout::ToyParts()).Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("reward vowels, group 100"));
}

TEST_F(WorkerPoolTest, WorkersThatCannotComputeTheSameBitsAreRefused) {
  const auto pool = StartPool();
  rollout::WorkerParts parts = rollout::ToyParts();
  parts.runnable_isas = {"avx2"};
  const absl::Status isa = TestWorker(pool->address(), parts).Wait();
  EXPECT_EQ(isa.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(isa.message()), HasSubstr("isa reference, but here runs only avx2"));
  parts = rollout::ToyParts();
  parts.kernel_version = 9;
  EXPECT_THAT(std::string(TestWorker(pool->address(), parts).Wait().message()),
              HasSubstr("its kernel_version is 9, the run's is 1"));
}

TEST_F(WorkerPoolTest, TooManyWorkersAreRefused) {
  RolloutPoolOptions options = Options();
  options.workers_max = 1;
  const auto pool = StartPool(options);
  TestWorker first(pool->address(), rollout::ToyParts());
  while (pool->workers().empty()) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_EQ(TestWorker(pool->address(), rollout::ToyParts()).Wait().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(WorkerPoolTest, OnlyLoopbackAddressesAreUsed) {
  RolloutPoolOptions options = Options();
  options.address = "0.0.0.0:0";
  const auto pool = learner::StartRolloutPool(options);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(pool.status().message()), HasSubstr("need TLS"));
  const absl::Status status = TestWorker("10.1.2.3:7000", rollout::ToyParts()).Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("need TLS"));
}

TEST_F(WorkerPoolTest, NoLearnerIsUnavailableAfterTheTimeout) {
  const double begin = RealClock().MonotonicSeconds();
  const absl::Status status =
      TestWorker("127.0.0.1:1", rollout::ToyParts(), /*retry_seconds=*/0.5).Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(RealClock().MonotonicSeconds() - begin, 4);
}

TEST_F(WorkerPoolTest, TwoRanksReceiveTheirOwnGroups) {
  RolloutPoolOptions options = Options();
  options.ranks = 2;
  const auto owner = StartPool(options);
  options.rank = 1;
  options.owner_address = owner->address();
  const auto member = StartPool(options);
  v1::StageSpec spec = rollout::ToyStage(0);
  ASSERT_EQ(owner->BeginStage(spec), absl::OkStatus());
  ASSERT_EQ(member->BeginStage(spec), absl::OkStatus());
  TestWorker one(owner->address(), rollout::ToyParts());
  TestWorker two(owner->address(), rollout::ToyParts());
  for (uint64_t step = 1; step <= 3; ++step) {
    owner->Publish(rollout::ToyWeights(step));
    ASSERT_EQ(owner->Offer(step, TrainLeases(100 * step, 8, step, 2)), absl::OkStatus());
    absl::StatusOr<RolloutPool::TrainStep> second;
    std::thread rank1([&] { second = member->AwaitTrainStep(step, stop_); });
    const auto first = owner->AwaitTrainStep(step, stop_);
    rank1.join();
    ASSERT_EQ(first.status(), absl::OkStatus());
    ASSERT_EQ(second.status(), absl::OkStatus());
    EXPECT_EQ(first->group_ids, second->group_ids);
    EXPECT_EQ(first->group_ids.size(), 8u);
    ExpectRight(first->groups, 4, step);
    ExpectRight(second->groups, 4, step);
    for (const v1::Group& group : first->groups) EXPECT_EQ(group.group_id() % 2, 0u);
    for (const v1::Group& group : second->groups) EXPECT_EQ(group.group_id() % 2, 1u);
    if (step == 3) break;
    owner->RetireStep(step, 0);
    member->RetireStep(step, 0);
  }
  owner->Post("dev check", "passed");
  EXPECT_EQ(*member->AwaitPost("dev check", stop_), "passed");

  // Both ranks restart from a checkpoint of step 3.
  v1::CheckpointState state, unused;
  std::vector<v1::Group> owners, members;
  owner->Save(state, owners);
  member->Save(unused, members);
  EXPECT_EQ(members.size(), 4u);
  RolloutPoolOptions again = Options();
  again.run.set_incarnation(4);
  again.ranks = 2;
  const auto owner2 = StartPool(again);
  again.rank = 1;
  again.owner_address = owner2->address();
  const auto member2 = StartPool(again);
  ASSERT_EQ(owner2->Restore(state, owners), absl::OkStatus());
  ASSERT_EQ(member2->Restore(unused, members), absl::OkStatus());
  ASSERT_EQ(owner2->BeginStage(spec), absl::OkStatus());
  owner2->Publish(rollout::ToyWeights(3));
  ASSERT_EQ(owner2->Offer(3, TrainLeases(300, 8, 3, 2)), absl::OkStatus());
  const auto restored = owner2->AwaitTrainStep(3, stop_);  // without any worker
  ASSERT_EQ(restored.status(), absl::OkStatus());
  ExpectRight(restored->groups, 4, 3);
  const auto restored2 = member2->AwaitTrainStep(3, stop_);
  ASSERT_EQ(restored2.status(), absl::OkStatus());
  ExpectRight(restored2->groups, 4, 3);
}

TEST_F(WorkerPoolTest, StopIsRankZerosDecision) {
  RolloutPoolOptions options = Options();
  options.ranks = 2;
  const auto owner = StartPool(options);
  options.rank = 1;
  options.owner_address = owner->address();
  options.stop_grace_seconds = 0.2;
  const auto member = StartPool(options);
  ASSERT_EQ(owner->BeginStage(rollout::ToyStage(0)), absl::OkStatus());
  owner->Publish(rollout::ToyWeights(1));
  ASSERT_EQ(owner->Offer(1, TrainLeases(1, 2, 1, 2)), absl::OkStatus());
  StopSignal stop;
  stop.Raise();
  EXPECT_EQ(owner->AwaitTrainStep(1, stop).status().code(), absl::StatusCode::kCancelled);
  const auto told = member->AwaitTrainStep(1, stop_);
  EXPECT_EQ(told.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(told.status().message()), HasSubstr("rank 0 stopped"));
  const auto untold = member->AwaitPost("never", stop);
  EXPECT_EQ(untold.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(untold.status().message()), HasSubstr("rank 0 said nothing"));
}

}  // namespace
}  // namespace r1
