// The test double must lose what a real disk may lose, and nothing else.

#include "tests/common/fault_filesystem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace r1 {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto kDropAll = [] { return 0.0; };
constexpr auto kKeepAll = [] { return 1.0; };

class FaultFileSystemTest : public testing::Test {
 protected:
  // Writes without closing; syncs when asked.
  void Write(const std::string& path, const std::string& data, bool sync) {
    const auto file = files_.OpenForAppend(path);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(data).ok());
    if (sync) {
      ASSERT_TRUE((*file)->Sync().ok());
    }
  }
  FaultFileSystem files_;
};

TEST_F(FaultFileSystemTest, PowerLossDropsUnsyncedBytesAndNames) {
  Write("a", "synced", true);
  ASSERT_TRUE(files_.SyncDirectory("").ok());
  Write("a", " and more", false);
  Write("b", "synced, but its name is not", true);
  EXPECT_EQ(*files_.Read("a", 100), "synced and more");

  const auto dropped = files_.AfterPowerLoss(kDropAll);
  EXPECT_EQ(*dropped->Read("a", 100), "synced");
  EXPECT_THAT(*dropped->List(""), ElementsAre("a"));
  const auto kept = files_.AfterPowerLoss(kKeepAll);
  EXPECT_EQ(*kept->Read("a", 100), "synced and more");
  EXPECT_THAT(*kept->List(""), ElementsAre("a", "b"));
  const auto torn = files_.AfterPowerLoss([] { return 0.5; });
  EXPECT_EQ(*torn->Read("a", 100), "synced and");
}

TEST_F(FaultFileSystemTest, ADroppedWriteBeforeAKeptOneLeavesZeros) {
  Write("a", "", true);
  ASSERT_TRUE(files_.SyncDirectory("").ok());
  Write("a", "one", false);
  Write("a", "two", false);
  int asked = 0;
  const auto after = files_.AfterPowerLoss([&] { return asked++ == 0 ? 0.0 : 1.0; });
  EXPECT_EQ(*after->Read("a", 100), std::string("\0\0\0two", 6));
}

TEST_F(FaultFileSystemTest, AnUnsyncedRenameIsThereOrNot) {
  Write("old", "x", true);
  ASSERT_TRUE(files_.SyncDirectory("").ok());
  ASSERT_TRUE(files_.Rename("old", "new").ok());
  EXPECT_THAT(*files_.AfterPowerLoss(kDropAll)->List(""), ElementsAre("old"));
  EXPECT_THAT(*files_.AfterPowerLoss(kKeepAll)->List(""), ElementsAre("new"));
  ASSERT_TRUE(files_.SyncDirectory("").ok());
  EXPECT_THAT(*files_.AfterPowerLoss(kDropAll)->List(""), ElementsAre("new"));
}

TEST_F(FaultFileSystemTest, FoldersAreNamesLikeFiles) {
  ASSERT_TRUE(files_.CreateDirectories("x/y").ok());
  Write("x/y/file", "data", true);
  ASSERT_TRUE(files_.SyncDirectory("x/y").ok());
  EXPECT_THAT(*files_.AfterPowerLoss(kDropAll)->List(""), IsEmpty());
  ASSERT_TRUE(files_.SyncDirectory("x").ok());
  ASSERT_TRUE(files_.SyncDirectory("").ok());
  EXPECT_EQ(*files_.AfterPowerLoss(kDropAll)->Read("x/y/file", 100), "data");
  ASSERT_TRUE(files_.RemoveAll("x").ok());
  EXPECT_FALSE(files_.Exists("x"));
  EXPECT_EQ(*files_.AfterPowerLoss(kDropAll)->Read("x/y/file", 100), "data");
}

TEST_F(FaultFileSystemTest, TheChosenOperationFails) {
  files_.FailAt(1, FaultFileSystem::Fault::kDiskFull);
  const auto file = files_.Create("a");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->Append("abcd").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(*files_.Read("a", 100), "ab");  // a short write
  EXPECT_TRUE((*file)->Append("cd").ok());
  EXPECT_EQ(*files_.Read("a", 100), "abcd");
}

TEST_F(FaultFileSystemTest, AfterTheKillNothingChanges) {
  files_.KillAt(1);
  const auto file = files_.Create("a");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->Append("abcd").code(), absl::StatusCode::kAborted);
  EXPECT_EQ((*file)->Append("efgh").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(files_.RemoveAll("a").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(*files_.AfterPowerLoss(kKeepAll)->Read("a", 100), "ab");
}

TEST_F(FaultFileSystemTest, AppendsFailBeyondTheCapacity) {
  files_.SetCapacity(5);
  const auto file = files_.Create("a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append("abcd").ok());
  EXPECT_EQ((*file)->Append("efgh").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(*files_.Read("a", 100), "abcde");
  ASSERT_TRUE(files_.RemoveAll("a").ok());
  Write("b", "12345", false);
}

}  // namespace
}  // namespace r1
