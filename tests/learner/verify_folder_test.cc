// r1 checkpoint verify on intact, damaged and foreign folders.

#include "learner/verify_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/filesystem.h"
#include "common/rng.h"
#include "common/safetensors.h"
#include "learner/checkpoint.h"
#include "tests/learner/checkpoint_fixtures.h"

namespace r1::learner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class VerifyFolderTest : public testing::Test {
 protected:
  VerifyFolderTest() : root_(testing::TempDir() + "r1_verify_" + std::to_string(getpid())) {
    R1_CHECK(RealFileSystem().CreateDirectories(root_).ok());
  }
  ~VerifyFolderTest() override { R1_CHECK(RealFileSystem().RemoveAll(root_).ok()); }

  void Write(const std::string& path, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), path, text).ok());
  }
  void WriteTensor(const std::string& name, const std::vector<float>& values) {
    const TensorView tensor = {
        .name = "w",
        .dtype = DType::kF32,
        .shape = {static_cast<int64_t>(values.size())},
        .bytes = {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}};
    ASSERT_TRUE(WriteSafetensors(RealFileSystem(), JoinPath(root_, name), {tensor}).ok());
  }
  std::vector<std::string> Problems(const std::string& folder) {
    const auto report = VerifyFolder(folder);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->problems : std::vector<std::string>();
  }

  const std::string root_;
};

TEST_F(VerifyFolderTest, AFolderWithoutManifestIsReadThrough) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  WriteTensor("model.safetensors", {1, 2});
  auto report = VerifyFolder(root_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->problems, IsEmpty());
  EXPECT_FALSE(report->has_manifest);
  EXPECT_EQ(report->files, 1);
  EXPECT_EQ(report->tensors, 1);
  WriteTensor("model.safetensors", {1, 2, nan});
  EXPECT_THAT(Problems(root_),
              ElementsAre("model.safetensors: tensor \"w\": found NaN at element 2 of 3"));
  WriteTensor("model.safetensors", {-std::numeric_limits<float>::infinity()});
  EXPECT_THAT(Problems(root_), ElementsAre(HasSubstr("found infinity at element 0 of 1")));
  Write(JoinPath(root_, "model.safetensors"), "short");
  EXPECT_THAT(Problems(root_),
              ElementsAre("model.safetensors: expected at least 8 bytes, found 5"));
}

TEST_F(VerifyFolderTest, PicklesAreRefusedByName) {
  Write(JoinPath(root_, "pytorch_model.bin"), "x");
  EXPECT_THAT(Problems(root_), ElementsAre(HasSubstr("pytorch_model.bin: a Python pickle")));
  EXPECT_EQ(VerifyFolder(root_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VerifyFolderTest, ManyProblemsAreCounted) {
  WriteTensor("model.safetensors", {1});
  Write(JoinPath(root_, kManifestName), FormatManifest({}));
  for (int i = 0; i < 120; ++i) Write(JoinPath(root_, absl::StrCat("extra", i)), "");
  const std::vector<std::string> problems = Problems(root_);
  ASSERT_EQ(problems.size(), kProblemsMax + 1);
  EXPECT_THAT(problems[0], HasSubstr("not listed in MANIFEST"));
  EXPECT_EQ(problems.back(), "and 21 more problems");
}

// 10,000 byte flips anywhere in a checkpoint: each is reported, by file.
TEST_F(VerifyFolderTest, EveryFlippedByteOfACheckpointIsReportedByFile) {
  CheckpointStore store(RealFileSystem(), {.folder = root_});
  const auto saved = store.Save(MakeContents(0, "rl", 3), RandomGroups(1, 2));
  ASSERT_TRUE(saved.ok()) << saved.status();
  ASSERT_THAT(Problems(*saved), IsEmpty());
  EXPECT_TRUE(VerifyFolder(*saved)->has_manifest);

  std::vector<std::string> names = {kManifestName};
  const auto entries =
      ParseManifest(*RealFileSystem().Read(JoinPath(*saved, kManifestName), 1 << 20));
  for (const ManifestEntry& entry : *entries) {
    if (entry.bytes > 0) names.push_back(entry.name);
  }
  for (uint64_t i = 0; i < 10000; ++i) {
    Rng rng(1, 0, RngPurpose::kTest, i, 0);
    const std::string& name = names[rng.NextBelow(names.size())];
    const std::string path = JoinPath(*saved, name);
    std::FILE* const file = std::fopen(path.c_str(), "r+b");
    ASSERT_NE(file, nullptr);
    ASSERT_EQ(std::fseek(file, 0, SEEK_END), 0);
    const auto at = static_cast<long>(rng.NextBelow(static_cast<uint64_t>(std::ftell(file))));
    const auto flip = static_cast<int>(1 + rng.NextBelow(255));
    const auto put = [&](int byte) {
      ASSERT_EQ(std::fseek(file, at, SEEK_SET), 0);
      ASSERT_NE(std::fputc(byte, file), EOF);
      ASSERT_EQ(std::fflush(file), 0);
    };
    ASSERT_EQ(std::fseek(file, at, SEEK_SET), 0);
    const int before = std::fgetc(file);
    put(before ^ flip);
    const std::vector<std::string> problems = Problems(*saved);
    ASSERT_FALSE(problems.empty()) << name << " byte " << at << ", seed " << i;
    EXPECT_THAT(problems[0], testing::StartsWith(name + ": ")) << absl::StrJoin(problems, "\n");
    put(before);
    std::fclose(file);
  }
  EXPECT_THAT(Problems(*saved), IsEmpty());
}

}  // namespace
}  // namespace r1::learner
