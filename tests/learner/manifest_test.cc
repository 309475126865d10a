// MANIFEST: written, read back, damaged, hostile.

#include "learner/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/learner/checkpoint_fixtures.h"

namespace r1::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(ManifestTest, IsReadBackAsWritten) {
  const std::string text =
      FormatManifest({{"training/state.bin", 211, 0x99aabbcc}, {"config.json", 1523, 0x0a1b2c3d}});
  EXPECT_THAT(text, testing::StartsWith("r1 checkpoint format_version 1\n"
                                        "config.json 1523 0a1b2c3d\n"
                                        "training/state.bin 211 99aabbcc\n"
                                        "MANIFEST 89 "));
  const auto entries = ParseManifest(text);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_THAT(*entries, SizeIs(2));
  EXPECT_EQ((*entries)[1].name, "training/state.bin");
  EXPECT_EQ((*entries)[1].bytes, 211u);
  EXPECT_EQ((*entries)[1].crc32c, 0x99aabbccu);
}

TEST(ManifestTest, AnotherFormatVersionIsRefusedNamingBoth) {
  const auto entries = ParseManifest(Sealed("r1 checkpoint format_version 2\nwhatever\n"));
  EXPECT_EQ(entries.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(entries.status().message()), HasSubstr("format_version \"2\""));
  EXPECT_THAT(std::string(entries.status().message()), HasSubstr("reads format_version 1"));
}

TEST(ManifestTest, HostileLinesAreRefusedByLine) {
  const std::string header = "r1 checkpoint format_version 1\n";
  for (const char* lines : {"../config.json 1 00000000\n",
                            "/etc/passwd 1 00000000\n",
                            "a//b 1 00000000\n",
                            ".hidden 1 00000000\n",
                            "a/../b 1 00000000\n",
                            "a/ 1 00000000\n",
                            "a 1 0000000\n",
                            "a 01 00000000\n",
                            "a -1 00000000\n",
                            "a 18446744073709551616 00000000\n",
                            "a 1 0000000G\n",
                            "a 1 0000000A\n",
                            "a  1 00000000\n",
                            "a 1\n",
                            "\n",
                            "a 1 00000000 b\n",
                            " 1 00000000\n",
                            "b 1 00000000\na 1 00000000\n",
                            "a 1 00000000\na 1 00000000\n",
                            "a\x01 1 00000000\n"}) {
    const auto entries = ParseManifest(Sealed(header + lines));
    EXPECT_EQ(entries.status().code(), absl::StatusCode::kDataLoss) << lines;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("line ")) << lines;
  }
  for (const char* text : {"", "\n", "x", "x\n", "\n\n", "MANIFEST 0 00000000\n"}) {
    EXPECT_EQ(ParseManifest(text).status().code(), absl::StatusCode::kDataLoss) << text;
  }
}

TEST(ManifestTest, RandomChangesAreNeverTakenForAnotherManifest) {
  const std::string text = FormatManifest({{"config.json", 1523, 1}, {"model.safetensors", 9, 2}});
  Rng rng = TestRng(1);
  for (int i = 0; i < 20000; ++i) {
    std::string changed = text;
    for (uint64_t n = 1 + rng.NextBelow(4); n > 0; --n) {
      const uint64_t at = rng.NextBelow(changed.size());
      switch (rng.NextBelow(3)) {
        case 0:
          changed[at] = static_cast<char>(rng.NextBelow(256));
          break;
        case 1:
          changed.erase(at, 1 + rng.NextBelow(8));
          break;
        case 2:
          changed.insert(at, changed.substr(rng.NextBelow(changed.size()), 5));
          break;
      }
      if (changed.empty()) break;
    }
    const auto entries = ParseManifest(changed);
    ASSERT_TRUE(!entries.ok() || changed == text) << changed << " seed " << TestSeed();
  }
}

}  // namespace
}  // namespace r1::learner
