// One, two and four ranks train the same batch to the same losses. The ranks are processes of
// ranks_program under mpirun, which also checks the collectives from inside.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace r1::learner {
namespace {

struct ProgramEnd {
  int code = -1;
  std::string output;  // stdout
};

ProgramEnd RunShell(const std::string& command) {
  ProgramEnd end;
  FILE* const pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr) << command;
  char buffer[4096];
  while (const size_t bytes = std::fread(buffer, 1, sizeof(buffer), pipe)) {
    end.output.append(buffer, bytes);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
  return end;
}

// R1_MPIRUN and R1_RANKS_PROGRAM are set by CMake. 0 ranks = without mpirun.
std::vector<double> LossesOf(int ranks) {
  const std::string mpirun =
      absl::StrCat("\"", R1_MPIRUN, "\" --oversubscribe --allow-run-as-root --bind-to none ",
                   "--mca btl_vader_single_copy_mechanism none --mca mpi_yield_when_idle 1 -n ");
  const ProgramEnd end = RunShell(absl::StrCat(ranks > 0 ? absl::StrCat(mpirun, ranks, " ") : "",
                                               "\"", R1_RANKS_PROGRAM, "\""));
  EXPECT_EQ(end.code, 0) << ranks << " ranks";
  std::vector<double> losses;
  for (const absl::string_view line : absl::StrSplit(end.output, '\n', absl::SkipEmpty())) {
    double loss = 0;
    EXPECT_TRUE(absl::SimpleAtod(line, &loss)) << line;
    losses.push_back(loss);
  }
  return losses;
}

TEST(RanksTest, OneTwoAndFourGiveTheSameLossCurve) {
  const std::vector<double> alone = LossesOf(0);
  // 20 updates of next-token training, 20 of GRPO, one with a single sequence.
  ASSERT_EQ(alone.size(), 41u);
  EXPECT_LT(alone[19], 0.9 * alone[0]);
  EXPECT_LT(alone[39], alone[20]);
  for (const int ranks : {2, 4}) {
    const std::vector<double> losses = LossesOf(ranks);
    ASSERT_EQ(losses.size(), alone.size());
    double largest = 0;
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_NEAR(losses[i], alone[i], 1e-5) << ranks << " ranks, update " << i;
      largest = std::max(largest, std::abs(losses[i] - alone[i]));
    }
    std::cout << ranks << " ranks: largest difference of a loss " << largest << "\n";
  }
}

TEST(RanksTest, TheSameRanksGiveTheSameBits) {
  EXPECT_EQ(LossesOf(1), LossesOf(0)) << "one rank with and without mpirun";
  EXPECT_EQ(LossesOf(2), LossesOf(2));
}

}  // namespace
}  // namespace r1::learner
