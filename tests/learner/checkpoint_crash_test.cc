// Checkpoints: what is left after a crash at any operation, and after an error of the disk in any
// of them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>

#include "absl/strings/str_cat.h"
#include "learner/checkpoint.h"
#include "tests/common/fault_filesystem.h"
#include "tests/learner/checkpoint_fixtures.h"

namespace r1::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// --- Crashes ---

// What the machine finds after a crash: nothing that was not synced, everything, or a random part
// of it.
std::vector<FaultFileSystem::Keep> DropSets(int operation) {
  std::vector<FaultFileSystem::Keep> sets = {[] { return 0.0; }, [] { return 1.0; }};
  for (uint64_t i = 0; i < 6; ++i) {
    auto rng = std::make_shared<Rng>(TestRng(100 + 10 * static_cast<uint64_t>(operation) + i));
    sets.push_back([rng] {
      const double draw = rng->NextUniform();
      return draw < 0.4 ? 0.0 : draw < 0.8 ? 1.0 : rng->NextUniform();  // kept, dropped or torn
    });
  }
  return sets;
}

struct CrashScenario {
  std::string name;
  std::vector<CheckpointContents> before;  // saved in order before the crash
  CheckpointContents saved;                // while the crash happens
};

struct CrashCounts {
  int crashes = 0;
  int found_old = 0;
  int found_new = 0;
  std::vector<std::string> violations;
};

// Checks one machine after a crash: exactly the old or the new checkpoint, the new one if Save had
// returned, and a run that goes on.
void CheckAfterCrash(const CrashScenario& scenario, FaultFileSystem& files, bool save_returned,
                     const std::string& where, CrashCounts& counts) {
  ++counts.crashes;
  const auto violation = [&](const std::string& what) {
    counts.violations.push_back(absl::StrCat(scenario.name, ", ", where, ": ", what));
  };
  CheckpointStore store = MakeStore(files);
  const auto loaded = store.Recover();
  if (loaded.ok()) {
    const std::string found = Fingerprint(loaded->contents, loaded->groups);
    const bool is_new = found == Fingerprint(scenario.saved, {RandomGroups(10, 3)});
    const bool is_old = !scenario.before.empty() &&
                        found == Fingerprint(scenario.before.back(), {RandomGroups(10, 3)});
    counts.found_old += is_old ? 1 : 0;
    counts.found_new += is_new ? 1 : 0;
    if (!is_old && !is_new) violation("found a mixture");
    if (save_returned && !is_new) violation("the save had returned, but is lost");
    if (!loaded->problems.empty()) violation(loaded->problems[0]);
  } else if (!absl::IsNotFound(loaded.status()) || !scenario.before.empty() || save_returned) {
    violation(loaded.status().ToString());
  }
  const CheckpointContents next = MakeContents(3, "last", 1);
  const auto path = store.Save(next, {});
  if (!path.ok()) violation(path.status().ToString());
  const auto newest = store.LoadNewest();
  if (!newest.ok() || Fingerprint(newest->contents, {}) != Fingerprint(next, {})) {
    violation("the next save is not the newest");
  }
  const auto names = files.List(kFolder);
  const auto complete = store.List();
  if (!names.ok() || names->size() != complete->size() || complete->size() > 2) {
    violation("something is left behind");
  }
}

CrashCounts EnumerateCrashes(const CrashScenario& scenario,
                             const std::function<void(FaultFileSystem&)>& configure = nullptr) {
  const QuietLog quiet;
  FaultFileSystem start;
  R1_CHECK(start.CreateDirectories("run").ok());
  CheckpointStore first = MakeStore(start);
  for (const auto& contents : scenario.before) {
    R1_CHECK(first.Save(contents, RandomGroups(10, 3)).ok());
  }
  CrashCounts counts;
  for (int operation = 0;; ++operation) {
    const auto files = start.AfterPowerLoss([] { return 1.0; });
    if (configure != nullptr) configure(*files);
    files->KillAt(operation);
    const bool save_returned = MakeStore(*files).Save(scenario.saved, RandomGroups(10, 3)).ok();
    int set = 0;
    for (const auto& keep : DropSets(operation)) {
      const auto machine = files->AfterPowerLoss(keep);
      const std::string where = absl::StrCat(
          "killed at operation ", operation, " (",
          files->log()[static_cast<size_t>(std::min(operation, files->operations() - 1))],
          "), drop set ", set++, ", seed ", TestSeed());
      CheckAfterCrash(scenario, *machine, save_returned, where, counts);
    }
    if (files->operations() <= operation) return counts;  // the kill came after the end
  }
}

std::vector<CrashScenario> CrashScenarios() {
  const CheckpointContents step_10 = MakeContents(2, "rl", 10);
  const CheckpointContents step_20 = MakeContents(2, "rl", 20);
  CheckpointContents step_20_again = MakeContents(2, "rl", 20);
  step_20_again.state.set_stage_done(true);
  return {{"first checkpoint", {}, step_10},
          {"second checkpoint", {step_10}, step_20},
          {"third checkpoint, the first is removed", {step_10, step_20}, MakeContents(2, "rl", 30)},
          {"the same step again", {step_10, step_20}, step_20_again}};
}

TEST(CheckpointCrashTest, AKillAtAnyOperationLeavesTheOldOrTheNewCheckpoint) {
  int crashes = 0;
  for (const CrashScenario& scenario : CrashScenarios()) {
    const CrashCounts counts = EnumerateCrashes(scenario);
    EXPECT_THAT(counts.violations, IsEmpty());
    EXPECT_GT(counts.found_new, 0);
    EXPECT_EQ(counts.found_old > 0, !scenario.before.empty());
    crashes += counts.crashes;
    std::printf("%s: %d crashes, %d ended in the old checkpoint, %d in the new one\n",
                scenario.name.c_str(), counts.crashes, counts.found_old, counts.found_new);
  }
  EXPECT_GT(crashes, 1000);
}

// The harness must notice what it is there for.
TEST(CheckpointCrashTest, TheEnumerationNoticesMissingSyncs) {
  const CrashScenario scenario = CrashScenarios()[1];
  EXPECT_THAT(EnumerateCrashes(scenario, [](auto& files) { files.IgnoreFileSyncs(); }).violations,
              Not(IsEmpty()));
  EXPECT_THAT(
      EnumerateCrashes(scenario, [](auto& files) { files.IgnoreDirectorySyncs(); }).violations,
      Not(IsEmpty()));
}

TEST(CheckpointCrashTest, AKillDuringRecoveryLosesNothing) {
  const QuietLog quiet;
  // Step 20 is damaged, step 30 was being saved: everything that Recover does.
  FaultFileSystem start;
  ASSERT_TRUE(start.CreateDirectories("run").ok());
  const CrashScenario scenario = {"recovery", {MakeContents(2, "rl", 10)}, {}};
  CheckpointStore store = MakeStore(start);
  for (const int step : {10, 20}) {
    ASSERT_TRUE(store.Save(MakeContents(2, "rl", step), RandomGroups(10, 3)).ok());
  }
  ASSERT_TRUE(
      store.WriteModel(*store.BeginSave(MakeContents(2, "rl", 30).state), MakeContents(2, "rl", 30))
          .ok());
  start.FlipBit("run/checkpoints/02_rl_step_000020/config.json", 7, 1);
  for (int operation = 0;; ++operation) {
    const auto files = start.AfterPowerLoss([] { return 1.0; });
    files->KillAt(operation);
    const bool recovered = MakeStore(*files).Recover().ok();
    for (const auto& keep : DropSets(operation)) {
      const auto machine = files->AfterPowerLoss(keep);
      CheckpointStore after = MakeStore(*machine);
      const auto loaded = after.Recover();
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_EQ(loaded->name, "02_rl_step_000010");
      EXPECT_EQ(Fingerprint(loaded->contents, loaded->groups),
                Fingerprint(scenario.before[0], {RandomGroups(10, 3)}));
    }
    if (files->operations() <= operation) {
      EXPECT_TRUE(recovered);
      break;
    }
  }
}

// --- Errors of the disk ---

TEST(CheckpointDiskTest, AnErrorInAnyOperationLeavesTheOlderOnesIntact) {
  FaultFileSystem start;
  ASSERT_TRUE(start.CreateDirectories("run").ok());
  CheckpointStore first = MakeStore(start);
  for (const int step : {10, 20}) ASSERT_TRUE(first.Save(MakeContents(2, "rl", step), {}).ok());
  int failures = 0;
  const QuietLog quiet;
  for (const auto fault : {FaultFileSystem::Fault::kIoError, FaultFileSystem::Fault::kDiskFull}) {
    for (int operation = 0;; ++operation) {
      const auto files = start.AfterPowerLoss([] { return 1.0; });
      CheckpointStore store = MakeStore(*files);
      files->FailAt(operation, fault);
      const auto path = store.Save(MakeContents(2, "rl", 30), {});
      if (files->operations() <= operation) break;
      SCOPED_TRACE(files->log()[static_cast<size_t>(operation)]);
      if (!path.ok()) {
        ++failures;
        EXPECT_EQ(path.status().code(), absl::StatusCode::kUnavailable) << path.status();
        const auto before = store.Load("02_rl_step_000020");
        ASSERT_TRUE(before.ok()) << before.status();
        EXPECT_EQ(Fingerprint(before->contents, {}), Fingerprint(MakeContents(2, "rl", 20), {}));
        const std::vector<std::string> names = *files->List(kFolder);
        for (const std::string& name : names) {
          EXPECT_TRUE(CheckpointName::Parse(name).has_value()) << name << " is left";
        }
      }
      // Whatever happened, the newest one is complete and the next save works.
      const auto newest = store.LoadNewest();
      ASSERT_TRUE(newest.ok()) << newest.status();
      EXPECT_THAT(newest->problems, IsEmpty());
      ASSERT_TRUE(store.Save(MakeContents(2, "rl", 40), {}).ok());
      EXPECT_EQ(store.LoadNewest()->name, "02_rl_step_000040");
    }
  }
  EXPECT_GT(failures, 50);
  std::printf("%d failing operations\n", failures);
}

TEST(CheckpointDiskTest, AFullDiskFailsTheSaveUntilThereIsSpaceAgain) {
  FaultFileSystem files;
  ASSERT_TRUE(files.CreateDirectories("run").ok());
  CheckpointStore store = MakeStore(files);
  ASSERT_TRUE(store.Save(MakeContents(2, "rl", 10), {}).ok());
  uint64_t used = 0;
  for (const auto& [name, data] : FilesOf(files, "run")) used += data.size();
  for (uint64_t space = 0; space < used; space += 97) {
    files.SetCapacity(used + space);
    const auto path = store.Save(MakeContents(2, "rl", 20), {});
    ASSERT_FALSE(path.ok());
    EXPECT_THAT(std::string(path.status().message()), HasSubstr("No space left on device"));
    EXPECT_THAT(*files.List(kFolder), ElementsAre("02_rl_step_000010"));
  }
  files.SetCapacity(used * 3);
  ASSERT_TRUE(store.Save(MakeContents(2, "rl", 20), {}).ok());
  EXPECT_EQ(store.LoadNewest()->name, "02_rl_step_000020");
}

}  // namespace
}  // namespace r1::learner
