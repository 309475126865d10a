// Checkpoints: the round trip, retention, several ranks, and damage of every kind.

#include "learner/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "tests/common/fault_filesystem.h"
#include "tests/learner/checkpoint_fixtures.h"

namespace r1::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    R1_CHECK(files_.CreateDirectories("run").ok());
    R1_CHECK(files_.SyncDirectory("").ok());
  }
  // Saves the steps 10, 20, … in stage 2, "rl".
  void SaveSteps(int count) {
    for (int i = 1; i <= count; ++i) {
      const auto path = store_.Save(MakeContents(2, "rl", 10 * i), RandomGroups(10, 3));
      ASSERT_TRUE(path.ok()) << path.status();
    }
  }
  std::string PathOf(const std::string& checkpoint, const std::string& file) const {
    return JoinPath(JoinPath(kFolder, checkpoint), file);
  }

  FaultFileSystem files_;
  CheckpointStore store_ = MakeStore(files_);
};

TEST(CheckpointNameTest, SortsByAgeAndRefusesOtherNames) {
  const std::vector<std::string> by_age = {
      (CheckpointName{0, "base", 900}.ToString()), (CheckpointName{2, "rl", 9}.ToString()),
      (CheckpointName{2, "rl", 120}.ToString()), (CheckpointName{2, "rl", 120, 2}.ToString()),
      (CheckpointName{10, "rl_step_2", 1}.ToString())};
  EXPECT_EQ(by_age[2], "02_rl_step_000120");
  EXPECT_TRUE(std::is_sorted(by_age.begin(), by_age.end()));
  for (const std::string& name : by_age) {
    const auto parsed = CheckpointName::Parse(name);
    ASSERT_TRUE(parsed.has_value()) << name;
    EXPECT_EQ(parsed->ToString(), name);
  }
  EXPECT_EQ(CheckpointName::Parse("10_rl_step_2_step_000001")->stage_name, "rl_step_2");
  for (const char* other :
       {"", "x", "02_rl_step_", "02_rl_step_12", "2_rl_step_000120", "02__step_000120",
        "02_rl_step_000120.tmp-1-1", "02_rl_step_000120.damaged", "02_rl_step_000120.r1",
        "02_rl_step_-00012", "02_a/b_step_000120", "_step_000120", "02_rl_step_000120 "}) {
    EXPECT_FALSE(CheckpointName::Parse(other).has_value()) << other;
  }
}

TEST_F(CheckpointTest, HasTheHuggingFaceFilesAtItsTopAndTheTrainingStateBelow) {
  SaveSteps(1);
  std::vector<std::string> names;
  for (const auto& [name, data] : FilesOf(files_, PathOf("02_rl_step_000010", ""))) {
    names.push_back(name);
  }
  EXPECT_THAT(names,
              ElementsAre("MANIFEST", "config.json", "generation_config.json", "model.safetensors",
                          "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
                          "training/groups_rank_0.bin", "training/optimizer.safetensors",
                          "training/reference.safetensors", "training/state.bin",
                          "training/versions/15.safetensors", "training/versions/16.safetensors"));
  const auto json = [&](const char* name) {
    return *ParseJson(*files_.Read(PathOf("02_rl_step_000010", name), 10000), name);
  };
  EXPECT_EQ(json("generation_config.json"),
            (nlohmann::json{{"do_sample", true}, {"bos_token_id", 1}, {"eos_token_id", 2}}));
  EXPECT_EQ(json("special_tokens_map.json"),
            (nlohmann::json{{"bos_token", "<bos>"}, {"eos_token", "<eos>"}}));
}

TEST_F(CheckpointTest, SaveLoadSaveIsByteIdentical) {
  CheckpointContents contents = MakeContents(2, "rl", 10);
  const std::vector<v1::Group> groups = RandomGroups(10, 3);
  ASSERT_TRUE(store_.Save(contents, groups).ok());
  const auto loaded = store_.LoadNewest();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->name, "02_rl_step_000010");
  EXPECT_THAT(loaded->problems, IsEmpty());
  EXPECT_EQ(Fingerprint(loaded->contents, loaded->groups), Fingerprint(contents, {groups}));

  CheckpointStore copy(files_, {.folder = "run/copy", .keep = 2, .files = {}});
  ASSERT_TRUE(copy.Save(loaded->contents, loaded->groups[0]).ok());
  EXPECT_EQ(FilesOf(files_, "run/copy/02_rl_step_000010"),
            FilesOf(files_, PathOf("02_rl_step_000010", "")));
}

TEST_F(CheckpointTest, OptionalPartsMayBeAbsent) {
  CheckpointContents contents = MakeContents(0, "base", 1);
  contents.optimizer.clear();
  contents.reference = nullptr;
  contents.leased.clear();
  ASSERT_TRUE(store_.Save(contents, {}).ok());
  const auto loaded = store_.LoadNewest();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->contents.optimizer, IsEmpty());
  EXPECT_EQ(loaded->contents.reference, nullptr);
  EXPECT_THAT(loaded->contents.leased, IsEmpty());
  ASSERT_EQ(loaded->groups.size(), 1u);
  EXPECT_EQ(loaded->groups[0].size(), 0u);
}

TEST_F(CheckpointTest, LargeModelsAreShardedWithAnIndex) {
  CheckpointStore store(files_, {.folder = kFolder, .keep = 2, .files = {.shard_bytes_max = 120}});
  const CheckpointContents contents = MakeContents(2, "rl", 10);  // 48, 64 and 80 bytes
  ASSERT_TRUE(store.Save(contents, {}).ok());
  const auto index = ParseJson(
      *files_.Read(PathOf("02_rl_step_000010", "model.safetensors.index.json"), 10000), "index");
  ASSERT_TRUE(index.ok());
  EXPECT_EQ((*index)["metadata"]["total_size"], 192);
  EXPECT_EQ((*index)["weight_map"],
            (nlohmann::json{{"model.embed_tokens.weight", "model-00001-of-00002.safetensors"},
                            {"model.norm.weight", "model-00001-of-00002.safetensors"},
                            {"lm_head.weight", "model-00002-of-00002.safetensors"}}));
  const auto loaded = store.LoadNewest();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Fingerprint(loaded->contents, {}), Fingerprint(contents, {}));
}

TEST_F(CheckpointTest, WorksOnTheMachinesFileSystem) {
  const std::string folder =
      JoinPath(testing::TempDir(), absl::StrCat("r1_checkpoints_", getpid()));
  CheckpointStore store(RealFileSystem(), {.folder = folder, .keep = 2, .files = {}});
  for (const int step : {10, 20, 30}) {
    ASSERT_TRUE(store.Save(MakeContents(2, "rl", step), RandomGroups(1, 2)).ok());
  }
  EXPECT_THAT(*store.List(), ElementsAre("02_rl_step_000020", "02_rl_step_000030"));
  EXPECT_THAT(*RealFileSystem().List(folder), SizeIs(2));
  const auto loaded = store.Recover();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Fingerprint(loaded->contents, loaded->groups),
            Fingerprint(MakeContents(2, "rl", 30), {RandomGroups(1, 2)}));
  ASSERT_TRUE(RealFileSystem().RemoveAll(folder).ok());
}

// --- Retention ---

TEST_F(CheckpointTest, KeepsTheNewestOnesAcrossStages) {
  CheckpointStore store = MakeStore(files_, 3);
  for (const int step : {100, 200}) ASSERT_TRUE(store.Save(MakeContents(0, "base", step), {}).ok());
  for (const int step : {5, 10}) ASSERT_TRUE(store.Save(MakeContents(1, "sft", step), {}).ok());
  EXPECT_THAT(*store.List(),
              ElementsAre("00_base_step_000200", "01_sft_step_000005", "01_sft_step_000010"));
  EXPECT_THAT(*files_.List(kFolder), SizeIs(3));
}

TEST_F(CheckpointTest, TheEndOfEachStageMayStayAndBeLoaded) {
  CheckpointStore store(files_, {.folder = kFolder, .keep = 2, .keep_stage_ends = true});
  const auto save = [&](uint32_t stage, const char* name, int64_t step, bool done) {
    CheckpointContents contents = MakeContents(stage, name, step);
    contents.state.set_stage_done(done);
    ASSERT_TRUE(store.Save(contents, {}).ok());
  };
  save(0, "base", 100, false);
  save(0, "base", 200, true);
  save(1, "sft", 5, false);
  save(1, "sft", 5, true);  // the same step, once more
  for (const int step : {1, 2, 3}) save(2, "rl", step, false);
  EXPECT_THAT(*store.List(), ElementsAre("00_base_step_000200", "01_sft_step_000005.r2",
                                         "02_rl_step_000002", "02_rl_step_000003"));
  EXPECT_EQ(store.LoadStageEnd(0)->name, "00_base_step_000200");
  EXPECT_EQ(store.LoadStageEnd(1)->name, "01_sft_step_000005.r2");
  EXPECT_TRUE(absl::IsNotFound(store.LoadStageEnd(2).status())) << "it has not ended";
  EXPECT_TRUE(absl::IsNotFound(store.LoadStageEnd(3).status()));
  ASSERT_TRUE(store.RemoveFrom(1).ok());
  EXPECT_THAT(*store.List(), ElementsAre("00_base_step_000200"));
  EXPECT_THAT(*files_.List(kFolder), SizeIs(1));
  ASSERT_TRUE(store.RemoveFrom(0).ok());
  EXPECT_THAT(*store.List(), ElementsAre());
}

TEST_F(CheckpointTest, SavingAStepAgainReplacesItAndKeepsTheOneBefore) {
  SaveSteps(2);
  CheckpointContents again = MakeContents(2, "rl", 20);
  again.state.set_stage_done(true);
  ASSERT_EQ(*store_.Save(again, {}), "run/checkpoints/02_rl_step_000020.r2");
  EXPECT_THAT(*store_.List(), ElementsAre("02_rl_step_000010", "02_rl_step_000020.r2"));
  again.state.set_seconds_total(1);
  ASSERT_EQ(*store_.Save(again, {}), "run/checkpoints/02_rl_step_000020.r3");
  EXPECT_THAT(*store_.List(), ElementsAre("02_rl_step_000010", "02_rl_step_000020.r3"));
  EXPECT_EQ(store_.LoadNewest()->contents.state.seconds_total(), 1);
}

TEST_F(CheckpointTest, RefusesAStageNameThatIsNoFileName) {
  for (const std::string& name :
       {std::string(), std::string("a/b"), std::string("a b"), std::string(101, 'x')}) {
    const auto path = store_.Save(MakeContents(0, name, 1), {});
    EXPECT_EQ(path.status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST_F(CheckpointTest, RefusesAConfigThatIsNoJson) {
  CheckpointContents contents = MakeContents(0, "base", 1);
  contents.hf_config_json.resize(1);
  EXPECT_EQ(store_.Save(contents, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(*files_.List(kFolder), IsEmpty());
}

// --- Several ranks ---

TEST_F(CheckpointTest, EachRankWritesItsGroups) {
  const CheckpointContents contents = MakeContents(2, "rl", 10);
  const auto temporary = store_.BeginSave(contents.state);
  ASSERT_TRUE(temporary.ok());
  CheckpointStore of_rank_1 = MakeStore(files_);
  ASSERT_TRUE(of_rank_1.WriteShard(*temporary, 1, RandomGroups(11, 2)).ok());
  ASSERT_TRUE(store_.WriteModel(*temporary, contents).ok());
  ASSERT_TRUE(store_.WriteShard(*temporary, 0, RandomGroups(10, 1)).ok());
  EXPECT_THAT(*store_.List(), IsEmpty());
  ASSERT_TRUE(store_.Commit(*temporary, 2).ok());
  const auto loaded = of_rank_1.Load("02_rl_step_000010");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Fingerprint(loaded->contents, loaded->groups),
            Fingerprint(contents, {RandomGroups(10, 1), RandomGroups(11, 2)}));
}

TEST_F(CheckpointTest, CommitRefusesWhenARankWroteNothing) {
  const CheckpointContents contents = MakeContents(2, "rl", 10);
  const auto temporary = store_.BeginSave(contents.state);
  ASSERT_TRUE(temporary.ok());
  ASSERT_TRUE(store_.WriteModel(*temporary, contents).ok());
  ASSERT_TRUE(store_.WriteShard(*temporary, 0, {}).ok());
  const auto path = store_.Commit(*temporary, 2);
  EXPECT_EQ(path.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(path.status().message()), HasSubstr("rank_1 is missing"));
  EXPECT_THAT(*files_.List(kFolder), IsEmpty());
}

// --- Damage ---

TEST_F(CheckpointTest, NoCheckpointIsNotFound) {
  EXPECT_EQ(store_.Recover().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.Load("02_rl_step_000010").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(files_.CreateDirectories("run/checkpoints/02_rl_step_000010.tmp-1-1").ok());
  EXPECT_EQ(store_.LoadNewest().status().code(), absl::StatusCode::kNotFound);
}

struct Damage {
  const char* what;
  std::function<void(FaultFileSystem&, const std::string& checkpoint)> apply;
  const char* problem;  // part of the one line that is expected
};

TEST_F(CheckpointTest, DamageIsReportedByFileAndTheOlderCheckpointIsUsed) {
  const std::vector<Damage> damages = {
      {"missing",
       [](auto& files, const auto& at) { R1_CHECK(files.RemoveAll(at + "/tokenizer.json").ok()); },
       "tokenizer.json: is missing"},
      {"truncated",
       [](auto& files, const auto& at) { R1_CHECK(files.Truncate(at + "/config.json", 10).ok()); },
       "config.json: has 10 bytes instead of 78: bytes 10-77 are missing"},
      {"longer",
       [](auto& files, const auto& at) {
         const auto file = files.OpenForAppend(at + "/training/state.bin");
         R1_CHECK(file.ok());
         R1_CHECK((*file)->Append("!!").ok());
       },
       "do not belong to it"},
      {"flipped", [](auto& files, const auto& at) { files.FlipBit(at + "/config.json", 5, 3); },
       "config.json: bytes 0-77 have crc32c"},
      {"extra",
       [](auto& files, const auto& at) { Overwrite(files, at + "/pytorch_model.bin", "x"); },
       "pytorch_model.bin: not listed in MANIFEST"},
      {"extra below",
       [](auto& files, const auto& at) { Overwrite(files, at + "/training/versions/9", "x"); },
       "training/versions/9: not listed in MANIFEST"},
      {"extra folder",
       [](auto& files, const auto& at) { R1_CHECK(files.CreateDirectories(at + "/a/b").ok()); },
       "02_rl_step_000020: a: not listed in MANIFEST"},
      {"no MANIFEST",
       [](auto& files, const auto& at) { R1_CHECK(files.RemoveAll(at + "/MANIFEST").ok()); },
       "MANIFEST: is missing"},
      {"half a MANIFEST",
       [](auto& files, const auto& at) { R1_CHECK(files.Truncate(at + "/MANIFEST", 99).ok()); },
       "MANIFEST: cut off"},
      {"empty MANIFEST",
       [](auto& files, const auto& at) { R1_CHECK(files.Truncate(at + "/MANIFEST", 0).ok()); },
       "MANIFEST: cut off"},
  };
  SaveSteps(2);
  const auto intact = files_.AfterPowerLoss([] { return 1.0; });
  for (const Damage& damage : damages) {
    SCOPED_TRACE(damage.what);
    const auto files = intact->AfterPowerLoss([] { return 1.0; });
    CheckpointStore store = MakeStore(*files);
    damage.apply(*files, "run/checkpoints/02_rl_step_000020");
    const auto loaded = store.LoadNewest();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->name, "02_rl_step_000010");
    EXPECT_THAT(loaded->damaged, ElementsAre("02_rl_step_000020"));
    EXPECT_THAT(loaded->problems, ElementsAre(HasSubstr(damage.problem)));
    EXPECT_EQ(store.Load("02_rl_step_000020").status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(CheckpointTest, RecoverSetsDamagedOnesAsideAndRemovesTemporaries) {
  SaveSteps(2);
  files_.FlipBit(PathOf("02_rl_step_000020", "model.safetensors"), 100, 0);
  Overwrite(files_, "run/checkpoints/notes.txt", "mine");
  ASSERT_TRUE(files_.CreateDirectories("run/checkpoints/02_rl_step_000030.tmp-9-1/training").ok());
  ASSERT_TRUE(store_.Recover().ok());
  EXPECT_THAT(*files_.List(kFolder),
              ElementsAre("02_rl_step_000010", "02_rl_step_000020.damaged", "notes.txt"));
  // The run reaches step 20 again: nothing is mixed with the damaged one, nor when that happens
  // once more.
  ASSERT_TRUE(store_.Save(MakeContents(2, "rl", 20), {}).ok());
  EXPECT_EQ(store_.LoadNewest()->name, "02_rl_step_000020");
  files_.FlipBit(PathOf("02_rl_step_000020", "config.json"), 0, 0);
  ASSERT_TRUE(store_.Recover().ok());
  EXPECT_THAT(*files_.List(kFolder),
              ElementsAre("02_rl_step_000010", "02_rl_step_000020.damaged", "notes.txt"));
}

TEST_F(CheckpointTest, WhenNoneIsIntactNothingIsLoadedNorTouched) {
  SaveSteps(2);
  files_.FlipBit(PathOf("02_rl_step_000010", "training/state.bin"), 3, 0);
  files_.FlipBit(PathOf("02_rl_step_000020", "config.json"), 3, 0);
  const auto loaded = store_.Recover();
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("02_rl_step_000020: config.json"));
  EXPECT_THAT(std::string(loaded.status().message()),
              HasSubstr("02_rl_step_000010: training/state.bin"));
  EXPECT_THAT(*store_.List(), ElementsAre("02_rl_step_000010", "02_rl_step_000020"));
}

TEST_F(CheckpointTest, AnUnreadableFileIsDamageNotACrash) {
  SaveSteps(2);
  const int before = files_.operations();
  ASSERT_TRUE(store_.LoadNewest().ok());
  const int reads = files_.operations() - before;
  for (int i = 1; i < reads; ++i) {  // the first lists the folder
    files_.FailAt(files_.operations() + i, FaultFileSystem::Fault::kIoError);
    const auto loaded = store_.LoadNewest();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    if (loaded->problems.empty()) continue;  // the second listing only looks for extra files
    EXPECT_EQ(loaded->name, "02_rl_step_000010");
    EXPECT_THAT(loaded->problems, ElementsAre(HasSubstr("Input/output error")));
  }
}

TEST_F(CheckpointTest, EveryFlippedBitIsFound) {
  SaveSteps(2);
  const std::string newest = PathOf("02_rl_step_000020", "");
  std::vector<std::pair<std::string, uint64_t>> sizes;
  for (const auto& [name, data] : FilesOf(files_, newest)) sizes.emplace_back(name, data.size());
  Rng rng = TestRng(0);
  std::set<std::string> hit;
  for (int i = 0; i < 10000; ++i) {
    const auto& [name, size] = sizes[rng.NextBelow(sizes.size())];
    const uint64_t offset = rng.NextBelow(size);
    const int bit = static_cast<int>(rng.NextBelow(8));
    files_.FlipBit(newest + name, offset, bit);
    const auto loaded = store_.LoadNewest();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_EQ(loaded->name, "02_rl_step_000010")
        << name << " byte " << offset << " bit " << bit << " seed " << TestSeed();
    ASSERT_THAT(loaded->problems,
                ElementsAre(testing::StartsWith(absl::StrCat("02_rl_step_000020: ", name, ": "))));
    hit.insert(name);
    files_.FlipBit(newest + name, offset, bit);
  }
  EXPECT_EQ(hit.size(), sizes.size());
  EXPECT_EQ(store_.LoadNewest()->name, "02_rl_step_000020");
}

TEST_F(CheckpointTest, AnotherFormatVersionIsNotTakenForDamage) {
  SaveSteps(2);
  const std::string path = PathOf("02_rl_step_000020", "MANIFEST");
  Overwrite(files_, path, Sealed("r1 checkpoint format_version 2\n"));
  EXPECT_EQ(store_.Recover().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(*store_.List(), ElementsAre("02_rl_step_000010", "02_rl_step_000020"));
}

}  // namespace
}  // namespace r1::learner
