// A whole run with two learner ranks: it finishes, stage after stage, and a second one ends in the
// same weights, bit by bit.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

class RanksRunTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "r1_ranks_run_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Runs the three stages of the smallest config in folder_/name; returns the last weights file.
  std::string Weights(const std::string& name, int ranks) {
    const fs::path run = folder_ / name;
    // R1_PROGRAM is set by CMake.
    const std::string command = absl::StrCat(
        "timeout 60 \"", R1_PROGRAM, "\" run tests/chaos/chaos.toml --set run.dir=", run.string(),
        " --set learner.ranks=", ranks, " --set stage.rl.grpo.steps=7 > ", run.string(),
        ".log 2>&1");
    EXPECT_EQ(std::system(command.c_str()), 0) << Read(run.string() + ".log");
    fs::path last;
    if (!fs::exists(run / "checkpoints")) return "";
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      last = std::max(last, entry.path());
    }
    EXPECT_EQ(last.filename(), "02_rl_step_000007");
    return Read(last / "model.safetensors");
  }

  static std::string Read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

 private:
  fs::path folder_;
};

TEST_F(RanksRunTest, TwoRanksFinishWithTheSameBitsEveryTime) {
  const std::string first = Weights("first", 2), second = Weights("second", 2);
  EXPECT_GT(first.size(), 10'000u);
  EXPECT_TRUE(first == second) << "the weights of two equal runs differ";
}

}  // namespace
}  // namespace r1
