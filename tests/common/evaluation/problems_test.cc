#include "common/evaluation/problems.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/evaluation/code_rows.h"
#include "common/evaluation/suite.h"
#include "common/json.h"

namespace r1 {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

v1::EvaluationSuite Suite(const std::vector<std::string>& overrides) {
  const auto loaded =
      LoadSuiteText("s.toml", "name = \"x\"\n[[reward]]\nname = \"math\"\n", overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->suite;
}

absl::StatusOr<EvaluationData> Read(const std::vector<std::string>& overrides,
                                    const std::vector<std::string>& rows, int64_t limit = 1000) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/problems.jsonl");
  std::ofstream(path) << absl::StrJoin(rows, "\n") << "\n";
  return ReadProblems(Suite(overrides), path, limit);
}

std::string ErrorOf(const std::vector<std::string>& overrides,
                    const std::vector<std::string>& rows) {
  const auto data = Read(overrides, rows);
  EXPECT_EQ(data.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(data.status().message());
}

nlohmann::json Columns(const EvaluationProblem& problem) {
  return ParseJson(problem.columns_json, "columns").value();
}

TEST(ProblemsTest, RowsInATemplate) {
  const auto data = ReadProblems(Suite({"data.prompt_column=question", "data.answer_marker=####",
                                        "prompt.template=\"Q: {prompt}\\nA:\""}),
                                 "tests/fixtures/gsm8k_sample.jsonl", 3);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->problems.size(), 3u);
  EXPECT_THAT(data->problems[0].prompt, StartsWith("Q: Natalia sold clips"));
  EXPECT_THAT(data->problems[0].prompt, EndsWith("\nA:"));
  EXPECT_EQ(data->problems[0].answer, "72");
  EXPECT_EQ(data->problems[2].id, "3");
  EXPECT_EQ(data->sha256.size(), 64u);
}

TEST(ProblemsTest, BadRowsNameTheirLine) {
  EXPECT_THAT(ErrorOf({}, {R"({"prompt":"a","answer":"1"})", "{"}), HasSubstr(".jsonl:2"));
  EXPECT_THAT(ErrorOf({}, {R"({"answer":"1"})"}), HasSubstr(":1: prompt: expected a string"));
  EXPECT_THAT(ErrorOf({}, {R"({"prompt":"a"})"}), HasSubstr(":1: answer: expected a string"));
  EXPECT_THAT(ErrorOf({}, {R"({"prompt":"a","answer":" "})"}), HasSubstr("expected text"));
  EXPECT_THAT(ErrorOf({"data.answer_marker=####"}, {R"({"prompt":"a","answer":"1"})"}),
              HasSubstr("expected the marker"));
  EXPECT_THAT(ErrorOf({"data.id_column=id"}, {R"({"id":1,"prompt":"a","answer":"1"})",
                                              R"({"id":1,"prompt":"b","answer":"1"})"}),
              HasSubstr(":2: expected an id of its own"));
  EXPECT_THAT(ErrorOf({}, {""}), HasSubstr("holds no problems"));
  EXPECT_EQ(ReadProblems(Suite({}), "no/such/file.jsonl", 1).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ProblemsTest, PlaceholdersInDataAreText) {
  const auto data =
      Read({"prompt.template=<{prompt}>"}, {R"({"prompt":"{prompt} $& \\1","answer":"1"})"});
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->problems[0].prompt, "<{prompt} $& \\1>");
}

TEST(ProblemsTest, ChoicesAreDrawnTheSameEveryTimeAndEvenly) {
  std::vector<std::string> rows;
  for (int i = 0; i < 400; ++i) {
    rows.push_back(
        absl::StrCat(R"({"q":"which )", i, R"(","right":"yes","w1":"no","w2":"maybe"})"));
  }
  const std::vector<std::string> overrides = {"data.format=multiple_choice", "data.prompt_column=q",
                                              "data.choice_columns=[\"right\", \"w1\", \"w2\"]"};
  const auto data = Read(overrides, rows);
  const auto again = Read(overrides, rows);
  ASSERT_TRUE(data.ok()) << data.status();
  std::map<std::string, int> letters;
  for (size_t i = 0; i < data->problems.size(); ++i) {
    const EvaluationProblem& problem = data->problems[i];
    EXPECT_EQ(problem.prompt, again->problems[i].prompt);
    EXPECT_THAT(problem.prompt, HasSubstr(absl::StrCat("\n", problem.answer, ") yes")));
    ++letters[problem.answer];
  }
  for (const char* letter : {"A", "B", "C"}) EXPECT_NEAR(letters[letter], 400 / 3, 40) << letter;
}

TEST(ProblemsTest, AListOfChoicesTakesALetterOrAnIndex) {
  const std::vector<std::string> overrides = {"data.format=multiple_choice",
                                              "data.choice_columns=[\"choices\"]"};
  const auto data = Read(overrides, {R"({"prompt":"q","choices":["a","b","c"],"answer":2})",
                                     R"({"prompt":"q","choices":["a","b","c"],"answer":"b"})"});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->problems[0].prompt, "q\n\nA) a\nB) b\nC) c");
  EXPECT_EQ(data->problems[0].answer, "C");
  EXPECT_EQ(data->problems[1].answer, "B");
  for (const char* answer : {"3", "-1", "\"D\"", "\"\"", "\"AB\"", "null", "1.5", "\"?\""}) {
    EXPECT_THAT(
        ErrorOf(overrides,
                {absl::StrCat(R"({"prompt":"q","choices":["a","b","c"],"answer":)", answer, "}")}),
        HasSubstr("expected one of 3 choices"))
        << answer;
  }
}

TEST(ProblemsTest, HumanEval) {
  const auto data =
      ReadProblems(Suite({"data.format=humaneval"}), "tests/fixtures/humaneval.jsonl", 1000);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->problems.size(), 164u);
  EXPECT_EQ(data->problems[0].id, "HumanEval/0");
  const nlohmann::json columns = Columns(data->problems[0]);
  EXPECT_EQ(columns["entry_point"], "has_close_elements");
  EXPECT_EQ(columns["setup"], data->problems[0].prompt);
  EXPECT_THAT(columns["tests"][0]["main"].get<std::string>(), HasSubstr("def check(candidate)"));
}

TEST(ProblemsTest, Mbpp) {
  const auto data =
      Read({"data.format=mbpp"}, {R"({"task_id":2,"prompt":"Add.","test_imports":["import math"],)"
                                  R"("test_list":["assert add(1,2)==3"]})",
                                  R"({"task_id":11,"text":"Sub.","test_setup_code":"x = 1",)"
                                  R"("test_list":["assert sub(3,1)==2","assert sub(1,1)==0"]})"});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->problems[0].id, "2");
  EXPECT_THAT(data->problems[1].prompt, HasSubstr("assert sub(1,1)==0"));
  EXPECT_EQ(Columns(data->problems[0])["setup"], "import math\n\n");
  EXPECT_EQ(Columns(data->problems[1])["tests"].size(), 2u);
  EXPECT_THAT(ErrorOf({"data.format=mbpp"}, {R"({"task_id":2,"prompt":"Add.","test_list":[]})"}),
              HasSubstr("at least one assertion"));
}

std::string LiveCodeBenchRow(const std::string& day, const std::string& tests,
                             const std::string& private_tests = "\"[]\"") {
  return absl::StrCat(R"({"question_id":")", day,
                      R"(","question_content":"Do it.","starter_code":"class Solution: pass",)",
                      R"("contest_date":")", day, R"(T00:00:00","public_test_cases":)", tests,
                      R"(,"private_test_cases":)", private_tests,
                      R"(,"metadata":"{\"func_name\": \"solve\"}"})");
}

constexpr char kStdinTest[] =
    R"("[{\"input\":\"1\\n\",\"output\":\"2\\n\",\"testtype\":\"stdin\"}]")";

TEST(ProblemsTest, LiveCodeBenchInItsWindow) {
  const std::vector<std::string> overrides = {
      "data.format=livecodebench", "data.date_from=\"2024-08-01\"", "data.date_to=\"2025-01-31\""};
  const auto data = Read(
      overrides,
      {LiveCodeBenchRow("2024-07-31", kStdinTest), LiveCodeBenchRow("2024-08-01", kStdinTest),
       LiveCodeBenchRow("2025-01-31", kStdinTest), LiveCodeBenchRow("2025-02-01", kStdinTest)});
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->problems.size(), 2u);
  EXPECT_EQ(data->problems[0].id, "2024-08-01");
  EXPECT_EQ(data->left_out.at("outside of the dates"), 2);
  EXPECT_EQ(Columns(data->problems[0])["kind"], "stdio");
  EXPECT_EQ(Columns(data->problems[0])["tests"][0]["output"], "2\n");
}

TEST(ProblemsTest, LiveCodeBenchFunctionsKeepLongIntegers) {
  const auto data = Read(
      {"data.format=livecodebench"},
      {LiveCodeBenchRow("2024-08-01", R"("[{\"input\":\"[1, 2]\\n123456789012345678901234567890\",)"
                                      R"(\"output\":\"[3]\",\"testtype\":\"functional\"}]")")});
  ASSERT_TRUE(data.ok()) << data.status();
  const nlohmann::json columns = Columns(data->problems[0]);
  EXPECT_EQ(columns["kind"], "function");
  EXPECT_EQ(columns["entry_point"], "solve");
  EXPECT_EQ(columns["tests"],
            "[{\"args\": [[1, 2], 123456789012345678901234567890], \"expected\": [3]}]");
}

// base64(zlib(pickle(text))) as Python makes it: python3 -c "import base64, json, pickle, zlib;
// print(base64.b64encode(zlib.compress(pickle.dumps(json.dumps([{'input': '5', 'output': '6',
// 'testtype': 'stdin'}])))).decode())"
constexpr char kPacked[] =
    "eJxrYJlqwQABPSbR1UqZeQWlJUpWCkqmSjoKSvmlJVCuGYhbklpcUlJZkAoSKC5JycxTqo2dogcAOx0Ssg==";

TEST(ProblemsTest, LiveCodeBenchPackedTests) {
  const auto data =
      Read({"data.format=livecodebench"},
           {LiveCodeBenchRow("2024-08-01", kStdinTest, absl::StrCat("\"", kPacked, "\""))});
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(Columns(data->problems[0])["tests"].size(), 2u);
  EXPECT_EQ(Columns(data->problems[0])["tests"][1]["input"], "5");
}

TEST(ProblemsTest, PackedTestsThatAreNoString) {
  EXPECT_EQ(UnpackPickledText(kPacked, 10).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(UnpackPickledText("", 1000).ok());
  EXPECT_FALSE(UnpackPickledText("!!!", 1000).ok());
  EXPECT_FALSE(UnpackPickledText(absl::Base64Escape("no zlib data"), 1000).ok());
  // A pickle that would call os.system when Python reads it.
  EXPECT_FALSE(
      UnpackPickledText("eJxrYJkqzwABPawF+cWZFVN62Iori0tSc6dMntLDUlJUmjqldUrQFD0AA2gOlA==", 1000)
          .ok());
  const std::string packed = kPacked;
  for (size_t cut = 0; cut < packed.size(); cut += 3) {
    EXPECT_FALSE(UnpackPickledText(packed.substr(0, cut), 1000).ok()) << cut;
  }
}

TEST(ProblemsTest, Codeforces) {
  const std::string common =
      R"("title":"T","description":"D","input_format":"I","output_format":"O",)"
      R"("examples":[{"input":"1","output":"2"}],"time_limit":1.5,"memory_limit":64.0,)";
  const auto data = Read(
      {"data.format=codeforces", "data.language=cpp17"},
      {absl::StrCat("{", common, R"("id":"1/A","rating":1400,)",
                    R"("official_tests":[{"input":"3","output":"4"}]})"),
       absl::StrCat("{", common, R"("id":"1/B","rating":null,"official_tests":[]})"),
       absl::StrCat("{", common, R"("id":"1/C","generated_checker":"x","official_tests":[]})")});
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->problems.size(), 1u);
  EXPECT_EQ(data->problems[0].rating, 1400);
  EXPECT_EQ(data->problems[0].prompt,
            "T\n\nD\n\nInput\nI\n\nOutput\nO\n\nExample input\n1\nExample output\n2");
  const nlohmann::json columns = Columns(data->problems[0]);
  EXPECT_EQ(columns["lang"], "cpp17");
  EXPECT_EQ(columns["limits"]["time_ms"], 1500);
  EXPECT_EQ(data->left_out.at("has no tests"), 1);
  EXPECT_EQ(data->left_out.at("needs a checker"), 1);
}

}  // namespace
}  // namespace r1
