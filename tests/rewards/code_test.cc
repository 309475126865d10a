// The parts of the code reward that need no sandbox: finding the program, reading the problem,
// comparing, and what goes around a C++ program.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rewards/code/compare_output.h"
#include "rewards/code/cpp_program.h"
#include "rewards/code/exact_json.h"
#include "rewards/code/extract_code.h"
#include "rewards/code/problem.h"
#include "rewards/code/sandbox/cgroup.h"
#include "rewards/reward.h"

namespace r1::rewards::code {
namespace {

std::string Extracted(const std::string& response, Language language = Language::kPython,
                      bool think_prefilled = false) {
  const CodeExtraction extraction = ExtractCode(response, think_prefilled, language);
  return extraction.found ? std::string(extraction.text) : extraction.reason;
}

TEST(ExtractCodeTest, TheLastBlockOfTheLanguageIsTheProgram) {
  EXPECT_EQ(Extracted("a\n```python\nx = 1\n```\nb"), "x = 1\n");
  EXPECT_EQ(Extracted("```python\n1\n```\n```py\n2\n```\n```cpp\n3\n```"), "2\n");
  EXPECT_EQ(Extracted("```python\n1\n```\n```cpp\n3\n```", Language::kCpp), "3\n");
  EXPECT_EQ(Extracted("```python\n1\n```\n```\n2\n```"), "1\n");
  EXPECT_EQ(Extracted("```\n1\n```\n```\n2\n```"), "2\n");
  EXPECT_EQ(Extracted("```text\n1\n```"), "no_code");
  EXPECT_EQ(Extracted("```Python3 title=a\r\n1\r\n```\r\n"), "1\r\n");
  EXPECT_EQ(Extracted("````python\n```\n1\n```\n````"), "```\n1\n```\n");
  EXPECT_EQ(Extracted("~~~python\n```\n~~~"), "```\n");
  EXPECT_EQ(Extracted("   ```python\n1\n   ```"), "1\n");
  EXPECT_EQ(Extracted("    ```python\n1\n```"), "");  // indented code; its end opens a block
  EXPECT_EQ(Extracted("say ```python x = 1``` so"), "no_code");
  EXPECT_EQ(Extracted("x = 1"), "no_code");
  EXPECT_EQ(Extracted(""), "no_code");
}

TEST(ExtractCodeTest, AnOpenBlockCountsWhenThereIsNoClosedOne) {
  EXPECT_EQ(Extracted("```python\n1\n"), "1\n");
  EXPECT_EQ(Extracted("```python\n1\n```\n```python\n2"), "1\n");
}

TEST(ExtractCodeTest, ThinkingIsNoAnswer) {
  EXPECT_EQ(Extracted("<think>```python\n1\n```</think>\n```python\n2\n```"), "2\n");
  EXPECT_EQ(Extracted("<think>```python\n1\n```"), "unclosed_think");
  EXPECT_EQ(Extracted("```python\n1\n```", Language::kPython, true), "unclosed_think");
  EXPECT_EQ(Extracted("</think>```python\n1\n```", Language::kPython, true), "1\n");
}

TEST(ExtractCodeTest, WorkIsLinear) {
  std::string fences;
  for (int i = 0; i < 300000; ++i) fences += "```\n";
  EXPECT_EQ(Extracted(fences), "");
  EXPECT_EQ(Extracted(std::string(1 << 20, '`')), "");
}

TEST(CompareOutputTest, LinesAreEqualUpToTheirEnds) {
  EXPECT_TRUE(EqualOutputs("1 2\n3\n", "1 2\n3", 0));
  EXPECT_TRUE(EqualOutputs("1 2  \r\n3\n\n\n", "1 2\n3", 0));
  EXPECT_TRUE(EqualOutputs("", "\n", 0));
  EXPECT_FALSE(EqualOutputs("1  2", "1 2", 0));
  EXPECT_FALSE(EqualOutputs(" 1", "1", 0));
  EXPECT_FALSE(EqualOutputs("1\n\n2", "1\n2", 0));
  EXPECT_FALSE(EqualOutputs("", "1", 0));
  EXPECT_FALSE(EqualOutputs("1\n2", "1", 0));
  EXPECT_FALSE(EqualOutputs("1.0", "1", 0));
  EXPECT_FALSE(EqualOutputs("9007199254740993", "9007199254740992", 0));
}

TEST(CompareOutputTest, TheToleranceIsForNumbersThatAreNoIntegers) {
  EXPECT_TRUE(EqualOutputs("x 0.33333", "x 0.333333", 1e-4));
  EXPECT_TRUE(EqualOutputs("1", "1.0", 1e-9));
  EXPECT_TRUE(EqualOutputs("1e6", "1000000.5", 1e-6));
  EXPECT_FALSE(EqualOutputs("0.34", "0.333333", 1e-4));
  EXPECT_FALSE(EqualOutputs("10001", "10000", 1e-3));
  EXPECT_FALSE(EqualOutputs("nan", "nan1", 1));
  EXPECT_FALSE(EqualOutputs("0.5 0.5", "0.5", 1e-4));
}

bool EqualJson(const std::string& a, const std::string& b, double tolerance = 0) {
  const auto found = ParseExactJson(a), expected = ParseExactJson(b);
  EXPECT_TRUE(found.has_value()) << a;
  EXPECT_TRUE(expected.has_value()) << b;
  return found && expected && Equal(*found, *expected, tolerance);
}

TEST(ExactJsonTest, ValuesAreEqualWithTheirKinds) {
  EXPECT_TRUE(EqualJson(R"( {"a":[1,"x\u00e9"],"b":null} )", R"({"b":null,"a":[1,"xé"]})"));
  EXPECT_TRUE(EqualJson("123456789012345678901234567890", "123456789012345678901234567890"));
  EXPECT_FALSE(EqualJson("123456789012345678901234567890", "123456789012345678901234567891"));
  EXPECT_FALSE(EqualJson("1", "1.0"));
  EXPECT_FALSE(EqualJson("1", "true"));
  EXPECT_FALSE(EqualJson("0", "null"));
  EXPECT_FALSE(EqualJson("[1]", "[1,1]"));
  EXPECT_FALSE(EqualJson(R"({"a":1})", R"({"a":1,"b":2})"));
  EXPECT_FALSE(EqualJson("NaN", "NaN", 1));
  EXPECT_TRUE(EqualJson("[1,2.0000001]", "[1.0,2]", 1e-6));
  EXPECT_FALSE(EqualJson("2", "3", 0.5));
  EXPECT_TRUE(EqualJson("1.50", "1.5"));
}

TEST(ExactJsonTest, OnlyJsonIsRead) {
  for (const char* const bad : {"", "[", "[1,]", "{\"a\"}", "{a:1}", "01", "1.", "-", "+1", "nul",
                                "\"a", "\"\xff\"", "1 2", "'a'", "[1 2]", "\"\n\""}) {
    EXPECT_FALSE(ParseExactJson(bad).has_value()) << bad;
  }
  EXPECT_FALSE(ParseExactJson(std::string(100000, '[')).has_value());
}

TEST(ExactJsonTest, DumpsWhatItRead) {
  const std::string text = R"({"a":[1,-2.50,1e9,"x\"\n"],"b":{},"c":[],"d":true,"e":null})";
  EXPECT_EQ(ParseExactJson(text)->Dump(), text);
}

std::string ProblemError(const std::string& columns) {
  return std::string(ParseProblem(columns).status().message());
}

TEST(CodeProblemTest, ReadsLimitsAndInfersTheKind) {
  const auto problem = ParseProblem(
      R"({"lang":"cpp20","tests":"[{\"args\":[1],\"expected\":null}]","entry_point":"f",
          "limits":{"time_ms":500,"memory_mb":64,"output_kb":8,"processes":3},"x":{"y":[1]}})");
  ASSERT_TRUE(problem.ok()) << problem.status();
  EXPECT_EQ(problem->language, Language::kCpp);
  EXPECT_STREQ(problem->standard, "20");
  EXPECT_EQ(problem->kind, Kind::kFunction);
  EXPECT_EQ(problem->tests[0].arguments, "[1]");
  EXPECT_EQ(problem->limits.cpu_seconds, 0.5);
  EXPECT_EQ(problem->limits.wall_seconds, 3.5);
  EXPECT_EQ(problem->limits.memory_bytes, 64u << 20);
  EXPECT_EQ(problem->limits.output_bytes, 8u << 10);
  EXPECT_EQ(problem->limits.processes, 3u);
}

TEST(CodeProblemTest, SaysWhatIsWrong) {
  EXPECT_EQ(ProblemError(""), "columns: expected a JSON object");
  EXPECT_EQ(ProblemError("{}"), "tests: expected an array of 1 to 10000 tests");
  EXPECT_EQ(ProblemError(R"({"tests":[]})"), "tests: expected an array of 1 to 10000 tests");
  EXPECT_EQ(ProblemError(R"({"tests":"[{"})"), "tests: expected an array of 1 to 10000 tests");
  EXPECT_EQ(ProblemError(R"({"lang":"go","tests":[{}]})"),
            "lang: expected \"python\", \"cpp\" (C++17), \"cpp17\" or \"cpp20\"");
  EXPECT_EQ(ProblemError(R"({"kind":"x","tests":[{}]})"),
            "kind: expected \"stdio\", \"function\" or \"assert_main\"");
  // What is missing must not be passed by saying nothing.
  EXPECT_EQ(ProblemError(R"({"kind":"stdio","tests":[{"input":"1"}]})"),
            "tests.output: expected a string");
  EXPECT_EQ(ProblemError(R"({"kind":"function","tests":[{"args":[]}],"entry_point":"f"})"),
            "tests.expected: expected a value");
  EXPECT_EQ(ProblemError(R"({"tests":[{"args":[],"expected":1}]})"),
            "entry_point: expected the name of the function");
  EXPECT_EQ(ProblemError(R"({"tests":[{"output":"1"}],"limits":{"time_ms":0}})"),
            "time_ms: expected a number in [1, 600000]");
}

TEST(CppProgramTest, EveryMacroOfTheCodeIsUndone) {
  EXPECT_EQ(UndefineMacros("#define A 1\n  #  define B(x) x\n#de\\\nfine C\n#define/**/D\n"
                           "%:define E\nint define = 1;\n"),
            "#undef A\n#undef B\n#undef C\n#undef D\n#undef E\n");
  EXPECT_EQ(UndefineMacros("char s[] = \"/*\";\n#define A\n"), "#undef A\n");
}

TEST(CgroupTest, FindsTheGroupsOfThisProcess) {
  const auto v1 = ParseCgroupHierarchies(
      "8:pids:/\n4:memory:/a/b\n2:cpu,cpuacct:/x\n0::/unified\n",
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
      "39 31 0:36 / /sys/fs/cgroup/pids rw shared:1 - cgroup cgroup rw,pids\n"
      "40 31 0:37 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "41 31 0:38 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n");
  ASSERT_EQ(v1.size(), 3u);
  EXPECT_EQ(v1[0].folder, "/sys/fs/cgroup/memory/a/b");
  EXPECT_TRUE(v1[0].has_memory);
  EXPECT_FALSE(v1[0].is_unified);
  EXPECT_EQ(v1[1].folder, "/sys/fs/cgroup/pids");
  EXPECT_EQ(v1[2].folder, "/sys/fs/cgroup/cpu,cpuacct/x");
  EXPECT_TRUE(v1[2].has_cpu && v1[2].has_cpu_account);

  const auto v2 = ParseCgroupHierarchies(
      "0::/user.slice/run-1.scope\n",
      "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_EQ(v2.size(), 1u);
  EXPECT_TRUE(v2[0].is_unified);
  EXPECT_EQ(v2[0].folder, "/sys/fs/cgroup/user.slice/run-1.scope");

  // A container sees the part below its own root.
  const auto inside = ParseCgroupHierarchies(
      "4:memory:/docker/abc\n",
      "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  ASSERT_EQ(inside.size(), 1u);
  EXPECT_EQ(inside[0].folder, "/sys/fs/cgroup/memory");
  EXPECT_TRUE(ParseCgroupHierarchies("", "\n- \n x - cgroup\n").empty());
}

TEST(CgroupTest, AMachineWithoutGroupsSaysSo) {
  const auto tree = CgroupTree::CreateIn({});
  EXPECT_EQ(tree->layers(), 0u);
  EXPECT_TRUE(absl::StrContains(tree->problem(), "/sys/fs/cgroup")) << tree->problem();
}

TEST(CodeRewardTest, WithoutAProblemOrAProgramNothingRuns) {
  const auto reward = *MakeReward("code");
  EXPECT_FALSE(reward->deterministic());
  RewardInput input;
  input.response = "```python\nprint(1)\n```";
  input.columns_json = "{}";
  EXPECT_TRUE(reward->ScoreSample(input).masked);
  EXPECT_EQ(reward->ScoreSample(input).reason, "bad_problem");
  input.columns_json = R"({"tests":[{"input":"","output":"1"}]})";
  input.response = "print(1)";
  EXPECT_FALSE(reward->ScoreSample(input).masked);
  EXPECT_EQ(reward->ScoreSample(input).reason, "no_code");
}

}  // namespace
}  // namespace r1::rewards::code
