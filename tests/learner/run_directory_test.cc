// The run's folder: creation, lock, identity, resume checks, cutting back.

#include "learner/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/filesystem.h"
#include "common/json.h"

namespace r1::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kConfigText[] = R"(
[[stage]]
name = "rl"
kind = "grpo"
grpo.steps = 10
[[stage.reward]]
name = "exact_match"
)";
constexpr char kBuild[] = "{\"version\":\"1\"}\n";

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectoryTest() : root_(JoinPath(testing::TempDir(), absl::StrCat("r1_run_", getpid()))) {
    R1_CHECK(files_.RemoveAll(root_).ok());
    R1_CHECK(files_.CreateDirectories(root_).ok());
    run_ = JoinPath(root_, "run");
  }
  ~RunDirectoryTest() override { R1_CHECK(files_.RemoveAll(root_).ok()); }

  v1::Config Config(std::vector<std::string> overrides = {}) {
    overrides.push_back(absl::StrCat("run.dir=\"", run_, "\""));
    const auto loaded = LoadConfigText("x.toml", kConfigText, overrides);
    R1_CHECK(loaded.ok());
    return loaded->config;
  }
  std::unique_ptr<RunDirectory> Open(const std::vector<std::string>& overrides = {}) {
    auto run = RunDirectory::Open(Config(overrides), kBuild);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *std::move(run) : nullptr;
  }
  std::string Read(const std::string& name) {
    return files_.Read(JoinPath(run_, name), 1 << 20).value_or("missing");
  }
  void Write(const std::string& name, const std::string& data) {
    R1_CHECK(WriteFileAtomically(files_, JoinPath(run_, name), data).ok());
  }

  FileSystem& files_ = RealFileSystem();
  std::string root_, run_;
};

TEST_F(RunDirectoryTest, AFreshRunHasItsFilesAndAnIdentity) {
  const auto run = Open();
  EXPECT_THAT(run->run_id(), MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(run->incarnation(), 1u);
  EXPECT_FALSE(run->finished());
  EXPECT_THAT(*files_.List(run_), ElementsAre("build.json", "checkpoints", "config.toml", "lock",
                                              "run.json", "samples"));
  EXPECT_EQ(Read("config.toml"), ConfigToToml(Config()));
  EXPECT_EQ(Read("build.json"), kBuild);
  EXPECT_EQ(run->metrics_path(), run_ + "/metrics.jsonl");
}

TEST_F(RunDirectoryTest, EachStartIsANewIncarnationOfTheSameRun) {
  const std::string run_id = Open()->run_id();
  for (uint64_t start = 2; start <= 5; ++start) {
    const auto run = Open();
    EXPECT_EQ(run->run_id(), run_id);
    EXPECT_EQ(run->incarnation(), start);
  }
  run_ = JoinPath(root_, "another");
  EXPECT_NE(Open()->run_id(), run_id);
}

TEST_F(RunDirectoryTest, ASecondLearnerIsRefusedByNameUntilTheFirstEnds) {
  auto run = Open();
  const auto second = RunDirectory::Open(Config(), kBuild);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(second.status().message()),
      HasSubstr(absl::StrCat("another learner holds this run: pid ", getpid(), " on host ")));
  EXPECT_EQ(*ParseJson(Read("run.json"), "run.json"),
            (nlohmann::json{{"run_id", run->run_id()}, {"incarnation", 1}}));
  run.reset();
  EXPECT_EQ(Open()->incarnation(), 2u);
}

TEST_F(RunDirectoryTest, AKilledLearnerFreesTheRun) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto run = RunDirectory::Open(Config(), kBuild);
    const char byte = run.ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  const auto refused = RunDirectory::Open(Config(), kBuild);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(absl::StrCat("pid ", child)));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  close(ready[0]);
  close(ready[1]);
  EXPECT_EQ(Open()->incarnation(), 2u);
}

TEST_F(RunDirectoryTest, AnotherConfigIsRefusedWithBothValuesOfEachField) {
  Open();
  const v1::Config other = Config({"run.seed=2", "stage.rl.grpo.kl_coef=0.5", "rollout.workers=7"});
  const auto inspection = InspectRun(other);
  EXPECT_EQ(inspection.status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string message(inspection.status().message());
  EXPECT_THAT(message, HasSubstr("run.seed: 1 in the run, 2 now"));
  EXPECT_THAT(message, HasSubstr("stage.rl.grpo.kl_coef: 0.001 in the run, 0.5 now"));
  EXPECT_THAT(message, Not(HasSubstr("rollout.workers")));
  EXPECT_THAT(message, HasSubstr(absl::StrCat("--set run.dir=", run_, "-2")));
  EXPECT_EQ(RunDirectory::Open(other, kBuild).status(), inspection.status());
  EXPECT_EQ(Read("config.toml"), ConfigToToml(Config()));
}

TEST_F(RunDirectoryTest, SafeFieldsMayChangeAndAreWrittenDown) {
  Open();
  const auto run = Open({"rollout.workers=7", "checkpoint.keep=5"});
  ASSERT_NE(run, nullptr);
  EXPECT_THAT(Read("config.toml"), HasSubstr("workers = 7"));
}

TEST_F(RunDirectoryTest, AMovedRunGoesOn) {
  const std::string run_id = Open()->run_id();
  const std::string moved = JoinPath(root_, "moved");
  ASSERT_TRUE(files_.Rename(run_, moved).ok());
  run_ = moved;
  EXPECT_EQ(Open()->run_id(), run_id);
}

TEST_F(RunDirectoryTest, AConfigThatThisProgramDoesNotTakeIsRefused) {
  Open();
  Write("config.toml", "[run]\nseeed = 3\n");
  const auto run = RunDirectory::Open(Config(), kBuild);
  EXPECT_EQ(run.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(run.status().message()), HasSubstr("config.toml:2:1"));
}

TEST_F(RunDirectoryTest, AFolderThatIsNoRunIsRefused) {
  ASSERT_TRUE(files_.CreateDirectories(run_).ok());
  Write("thesis.tex", "x");
  const auto run = RunDirectory::Open(Config(), kBuild);
  EXPECT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(run.status().message()), HasSubstr("thesis.tex"));
  EXPECT_THAT(*files_.List(run_), ElementsAre("thesis.tex"));
}

TEST_F(RunDirectoryTest, InspectingChangesNothing) {
  const auto fresh = InspectRun(Config());
  ASSERT_TRUE(fresh.ok());
  EXPECT_TRUE(fresh->is_new);
  EXPECT_FALSE(files_.Exists(run_));
  Open();
  const std::string identity = Read("run.json");
  EXPECT_FALSE(InspectRun(Config())->is_new);
  EXPECT_EQ(Read("run.json"), identity);
}

TEST_F(RunDirectoryTest, AFinishedRunKeepsItsReportAndIsNotTouched) {
  ASSERT_TRUE(Open()->Finish("{\"table\":[1,2]}\n").ok());
  const std::string identity = Read("run.json");
  const auto inspection = InspectRun(Config());
  ASSERT_TRUE(inspection.ok());
  EXPECT_TRUE(inspection->finished);
  EXPECT_EQ(inspection->report_json, "{\"table\":[1,2]}\n");
  const auto run = RunDirectory::Open(Config({"rollout.workers=9"}), kBuild);
  ASSERT_TRUE(run.ok());
  EXPECT_TRUE((*run)->finished());
  EXPECT_EQ((*run)->report_json(), "{\"table\":[1,2]}\n");
  EXPECT_EQ(Read("run.json"), identity);
  EXPECT_THAT(Read("config.toml"), Not(HasSubstr("workers = 9")));
  EXPECT_EQ(InspectRun(Config({"run.seed=2"})).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(RunDirectoryTest, TheEndpointIsThereWhileALearnerRuns) {
  const auto run = Open();
  EXPECT_EQ(ReadEndpoint(run_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(run->WriteEndpoint("127.0.0.1:5001", "127.0.0.1:8080").ok());
  const auto endpoint = ReadEndpoint(run_);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_EQ(endpoint->grpc_address, "127.0.0.1:5001");
  EXPECT_EQ(endpoint->http_address, "127.0.0.1:8080");
  EXPECT_EQ(endpoint->pid, getpid());
  EXPECT_EQ(endpoint->run_id, run->run_id());
  EXPECT_EQ(endpoint->incarnation, 1u);
  run->RemoveEndpoint();
  EXPECT_EQ(ReadEndpoint(run_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RunDirectoryTest, AStartRemovesWhatAKilledLearnerLeft) {
  ASSERT_TRUE(Open()->WriteEndpoint("127.0.0.1:5001", "127.0.0.1:8080").ok());
  Write("run.json.tmp-123", "{");
  Write("notes.tmp-1", "mine");
  const auto run = Open();
  EXPECT_EQ(ReadEndpoint(run_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*files_.List(run_), ElementsAre("build.json", "checkpoints", "config.toml", "lock",
                                              "notes.tmp-1", "run.json", "samples"));
}

TEST_F(RunDirectoryTest, DamagedSmallFilesAreNamed) {
  const auto run = Open();
  Write("endpoint.json", "{\"grpc_address\":3}");
  EXPECT_THAT(std::string(ReadEndpoint(run_).status().message()),
              HasSubstr("endpoint.json: grpc_address: expected"));
}

TEST_F(RunDirectoryTest, AttemptsAreNumberedAndTheLatestIsLinked) {
  EXPECT_EQ(*CreateAttemptFolder(run_), run_ + "/logs/attempt_1");
  EXPECT_EQ(*CreateAttemptFolder(run_), run_ + "/logs/attempt_2");
  EXPECT_EQ(std::filesystem::read_symlink(run_ + "/logs/latest"), "attempt_2");
  EXPECT_THAT(*files_.List(run_ + "/logs"), ElementsAre("attempt_1", "attempt_2", "latest"));
  EXPECT_EQ(Open()->incarnation(), 1u);  // a folder with logs only is still a fresh run
}

TEST_F(RunDirectoryTest, CutBackReturnsToTheCheckpoint) {
  const auto run = Open();
  Write("metrics.jsonl", "row 1\nrow 2\nrow 3\n");
  ASSERT_TRUE(files_.CreateDirectories(run->samples_folder()).ok());
  for (const char* name :
       {"samples/00_rl_step_000002.jsonl.zst", "samples/00_rl_step_000003.jsonl.zst"}) {
    Write(name, "x");
  }
  v1::CheckpointState state;
  state.set_step(2);
  RunDirectory::RecordOffsets(12, &state);
  ASSERT_TRUE(run->CutBack(&state).ok());
  EXPECT_EQ(Read("metrics.jsonl"), "row 1\nrow 2\n");
  EXPECT_THAT(*files_.List(run->samples_folder()), ElementsAre("00_rl_step_000002.jsonl.zst"));
  // Rows that are gone are no reason to stop.
  Write("metrics.jsonl", "row 1\n");
  ASSERT_TRUE(run->CutBack(&state).ok());
  EXPECT_EQ(Read("metrics.jsonl"), "row 1\n");
  ASSERT_TRUE(run->CutBack(nullptr).ok());
  EXPECT_EQ(Read("metrics.jsonl"), "");
  EXPECT_THAT(*files_.List(run->samples_folder()), ElementsAre());
}

}  // namespace
}  // namespace r1::learner
