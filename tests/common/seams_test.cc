// The small seams: random numbers, checksums, files, status macros.

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <string>

#include "common/filesystem.h"
#include "common/hash.h"
#include "common/rng.h"
#include "common/status.h"

namespace r1 {
namespace {

// Known-answer vectors published with Random123 (kat_vectors, philox4x32 10).
TEST(PhiloxTest, MatchesPublishedVectors) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RngTest, EveryArgumentChangesTheStream) {
  std::set<uint64_t> first;
  first.insert(Rng(1, 0, RngPurpose::kTest, 0, 0).Next64());
  first.insert(Rng(2, 0, RngPurpose::kTest, 0, 0).Next64());
  first.insert(Rng(1, 1, RngPurpose::kTest, 0, 0).Next64());
  first.insert(Rng(1, 0, RngPurpose::kPrompt, 0, 0).Next64());
  first.insert(Rng(1, 0, RngPurpose::kTest, 1, 0).Next64());
  first.insert(Rng(1, 0, RngPurpose::kTest, uint64_t{1} << 32, 0).Next64());
  first.insert(Rng(1, 0, RngPurpose::kTest, 0, 1).Next64());
  EXPECT_EQ(first.size(), 7u);
}

TEST(RngTest, PositionIsIndependentOfHistory) {
  Rng stream(7, 3, RngPurpose::kTest, 11, 2);
  const double at_zero = stream.UniformAt(0);
  EXPECT_EQ(stream.NextUniform(), at_zero);
  EXPECT_EQ(stream.NextUniform(), Rng(7, 3, RngPurpose::kTest, 11, 2).UniformAt(1));
}

TEST(RngTest, NextBelowIsUniform) {
  Rng stream(5, 0, RngPurpose::kTest, 0, 0);
  int counts[6] = {};
  for (int i = 0; i < 60000; ++i) ++counts[stream.NextBelow(6)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);  // 5.5 standard deviations
}

TEST(HashTest, MatchesPublishedVectors) {
  EXPECT_EQ(Crc32c("123456789"),
            0xE3069283u);  // RFC 3720 appendix B.4's polynomial, the usual check value
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), Crc32c("123456789"));
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

class FileSystemTest : public testing::Test {
 protected:
  FileSystemTest() : folder_(testing::TempDir() + "r1_fs_" + std::to_string(getpid())) {
    R1_CHECK(RealFileSystem().CreateDirectories(folder_).ok());
  }
  ~FileSystemTest() override { R1_CHECK(RealFileSystem().RemoveAll(folder_).ok()); }
  std::string folder_;
};

TEST_F(FileSystemTest, AtomicWriteReplacesAndLeavesNoTemporary) {
  const std::string path = JoinPath(folder_, "file");
  ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), path, "one").ok());
  ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), path, "two").ok());
  EXPECT_EQ(*RealFileSystem().Read(path, 100), "two");
  EXPECT_EQ(*RealFileSystem().List(folder_), std::vector<std::string>{"file"});
}

TEST_F(FileSystemTest, ErrorsNameThePathAndTheReason) {
  const auto missing = RealFileSystem().Read(JoinPath(folder_, "none"), 10);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("none: open"), std::string::npos);
  ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), JoinPath(folder_, "long"), "0123456789").ok());
  EXPECT_EQ(RealFileSystem().Read(JoinPath(folder_, "long"), 9).status().code(),
            absl::StatusCode::kResourceExhausted);
}

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return absl::InvalidArgumentError("odd");
  return x / 2;
}

absl::StatusOr<int> Quarter(int x) {
  R1_ASSIGN_OR_RETURN(const int half, Half(x));
  return Half(half);
}

TEST(StatusTest, MacrosPassErrorsOn) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_EQ(Annotate(Quarter(6).status(), "here").message(), "here: odd");
}

}  // namespace
}  // namespace r1
