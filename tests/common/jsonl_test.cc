// JSON lines: bounded lines, bad rows that do not end the reading, and the digest of the file.

#include "common/jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/filesystem.h"

namespace r1 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class JsonlTest : public testing::Test {
 protected:
  JsonlTest() : path_(testing::TempDir() + "r1_jsonl_" + std::to_string(getpid())) {}
  ~JsonlTest() override { R1_CHECK(RealFileSystem().RemoveAll(path_).ok()); }

  // "line: value of x" or "line! message" for each row.
  std::vector<std::string> ReadAll(const std::string& text,
                                   size_t line_bytes_max = JsonlReader::kLineBytesMax) {
    R1_CHECK(WriteFileAtomically(RealFileSystem(), path_, text).ok());
    const auto reader = *JsonlReader::Open(path_, line_bytes_max);
    std::vector<std::string> rows;
    for (JsonlRow row; *reader->Next(row);) {
      const std::string line = std::to_string(row.line);
      rows.push_back(row.status.ok() ? line + ": " + row.object["x"].dump()
                                     : line + "! " + std::string(row.status.message()));
    }
    EXPECT_EQ(reader->Sha256Hex(), Sha256Hex(text));
    return rows;
  }

  const std::string path_;
};

TEST_F(JsonlTest, RowsKeepTheirLineNumbersAndEmptyLinesAreSkipped) {
  EXPECT_THAT(ReadAll("{\"x\":1}\n\n  \r\n{\"x\":\"\xC3\xA9\"}\r\n{\"x\":3}"),
              ElementsAre("1: 1", "4: \"\xC3\xA9\"", "5: 3"));
  EXPECT_THAT(ReadAll(""), ElementsAre());
  EXPECT_THAT(ReadAll("\n\n"), ElementsAre());
}

TEST_F(JsonlTest, BadRowsAreReportedWithTheirPlaceAndReadingGoesOn) {
  EXPECT_THAT(
      ReadAll("{\"x\":}\n[1]\n{\"x\":\"\xff\"}\n" + std::string(1000, '{') + "\n{\"x\":5}\n"),
      ElementsAre(HasSubstr("1! " + path_ + ":1: parse error"),
                  "2! " + path_ + ":2: expected an object, found an array of 1 elements",
                  HasSubstr(path_ + ":3: parse error"), HasSubstr(path_ + ":4: parse error"),
                  "5: 5"));
}

TEST_F(JsonlTest, LinesAreBounded) {
  const std::string fits = "{\"x\":\"" + std::string(92, 'a') + "\"}";
  ASSERT_EQ(fits.size(), 100u);
  const std::string text = fits + "\n" + fits + " \n" + std::string(1 << 18, 'b') + "\n" + fits;
  EXPECT_THAT(
      ReadAll(text, 100),
      ElementsAre(HasSubstr("1: \"aaa"),
                  HasSubstr("2! " + path_ + ":2: the line is longer than 100 bytes"),
                  HasSubstr("3! " + path_ + ":3: the line is longer"), HasSubstr("4: \"aaa")));
}

// Lines of every length around the reader's buffer of 2^16 bytes.
TEST_F(JsonlTest, LinesMayCrossTheBuffer) {
  for (const size_t size : {65527, 65528, 65529, 65535, 65536, 65537, 131072, 200000}) {
    const std::string row = "{\"x\":\"" + std::string(size, 'a') + "\"}";
    const auto rows = ReadAll(row + "\n" + row + "\n");
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[1].size(), size + 5);
  }
}

TEST_F(JsonlTest, MissingFilesAreNamed) {
  const absl::Status status = JsonlReader::Open(path_ + "/none").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("none: open"));
  const auto folder = JsonlReader::Open(testing::TempDir());
  ASSERT_TRUE(folder.ok());
  JsonlRow row;
  EXPECT_EQ((*folder)->Next(row).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(JsonlTest, ARowKeepsItsTextWhenTheNextIsRead) {
  ASSERT_TRUE(WriteFileAtomically(RealFileSystem(), path_, "{\"b\": 1, \"a\": 2}\n{}\n").ok());
  const auto reader = *JsonlReader::Open(path_);
  JsonlRow first, second;
  ASSERT_TRUE(*reader->Next(first));
  ASSERT_TRUE(*reader->Next(second));
  EXPECT_EQ(first.text, "{\"b\": 1, \"a\": 2}");
  EXPECT_EQ(second.text, "{}");
}

}  // namespace
}  // namespace r1
