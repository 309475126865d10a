// One sandbox for all tests of a program, and what happens where the machine has none: the tests
// are skipped with the reason, or fail when R1_REQUIRE_SANDBOX=1.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "rewards/code/judge.h"
#include "rewards/code/sandbox/pool.h"

namespace r1::rewards::code {

inline bool RequiresSandbox() {
  const char* const required = std::getenv("R1_REQUIRE_SANDBOX");
  return required != nullptr && std::string(required) == "1";
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    if (Pool().ok()) return;
    if (RequiresSandbox()) FAIL() << Pool().status().message();
    GTEST_SKIP() << Pool().status().message();
  }

  // Started at the first call, ended with the program.
  static absl::StatusOr<std::shared_ptr<SandboxPool>>& Pool() {
    static absl::StatusOr<std::shared_ptr<SandboxPool>> pool = Start();
    return pool;
  }
  static Judge& SharedJudge() {
    static Judge judge(*Pool());
    return judge;
  }

  // The problem is a row of JSON as in a data file.
  static Judgement JudgeRow(const std::string& columns, const std::string& code) {
    const absl::StatusOr<CodeProblem> problem = ParseProblem(columns);
    EXPECT_TRUE(problem.ok()) << problem.status() << "\n" << columns;
    return SharedJudge().Run(*problem, code, /*all_tests=*/false);
  }
  static std::string VerdictOn(const std::string& columns, const std::string& code) {
    const Judgement judgement = JudgeRow(columns, code);
    if (judgement.verdict == Verdict::kInfraError) ADD_FAILURE() << judgement.detail;
    return VerdictName(judgement.verdict);
  }

 private:
  static absl::StatusOr<std::shared_ptr<SandboxPool>> Start() {
    absl::StatusOr<std::unique_ptr<SandboxPool>> pool = SandboxPool::Start({});
    if (!pool.ok()) return pool.status();
    return std::shared_ptr<SandboxPool>(*std::move(pool));
  }
};

}  // namespace r1::rewards::code
