// Style as a test: the repository has no violation of any rule, and each rule finds a planted one.
// Runs in the root of the repository.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/tidy/rules.h"

namespace r1::tidy {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

using Rule = std::vector<Violation> (*)(const SourceFile&);

const std::vector<SourceFile>& Repository() {
  static const auto* files = new std::vector<SourceFile>(ReadRepository("."));
  return *files;
}

void ExpectClean(Rule rule) {
  std::string found;
  for (const SourceFile& file : Repository()) {
    for (const Violation& violation : rule(file)) {
      absl::StrAppend(&found, violation.path, ":", violation.line, ": ", violation.what, "\n");
    }
  }
  if (!found.empty()) ADD_FAILURE() << "\n" << found;
}

TEST(RepositoryTest, IsFound) {
  EXPECT_GT(Repository().size(), 50u);
  const auto has_path = [](const std::string& path) {
    return [path](const SourceFile& file) { return file.path == path; };
  };
  for (const std::string path : {"common/status.h", "proto/config.proto", "tests/tidy/rules.cc"}) {
    EXPECT_EQ(std::count_if(Repository().begin(), Repository().end(), has_path(path)), 1)
        << path << ": run this test in the root of the repository";
  }
}
TEST(RepositoryTest, IncludesRespectTheBorders) { ExpectClean(CheckIncludes); }
TEST(RepositoryTest, LinesAreShort) { ExpectClean(CheckLineLength); }
TEST(RepositoryTest, CharactersAreClean) { ExpectClean(CheckCharacters); }
TEST(RepositoryTest, NothingIsLeftOver) { ExpectClean(CheckMarkers); }
TEST(RepositoryTest, MacrosAreOurs) { ExpectClean(CheckMacros); }
TEST(RepositoryTest, NoBannedCalls) { ExpectClean(CheckBannedCalls); }
TEST(RepositoryTest, ProtoNamesAreUniform) { ExpectClean(CheckProtoNames); }
TEST(RepositoryTest, ConfigsAreShortAndExplained) { ExpectClean(CheckConfigs); }

// Number of violations in a file of this path and text.
size_t Count(Rule rule, const std::string& path, const std::string& text) {
  return rule(MakeSourceFile(path, text)).size();
}

bool MayInclude(const std::string& path, const std::string& header) {
  return Count(CheckIncludes, path, absl::StrCat("#include ", header, "\n")) == 0;
}

TEST(IncludeRuleTest, FoldersSeeWhatTheDesignSays) {
  EXPECT_TRUE(MayInclude("common/config.cc", "\"proto/config.pb.h\""));
  EXPECT_FALSE(MayInclude("common/config.cc", "\"rewards/reward.h\""));
  EXPECT_TRUE(MayInclude("kernels/cpu/matmul.cc", "\"common/status.h\""));
  EXPECT_FALSE(MayInclude("kernels/cpu/matmul.cc", "\"proto/config.pb.h\""));
  EXPECT_TRUE(MayInclude("rewards/format.cc", "\"proto/config.pb.h\""));
  EXPECT_FALSE(MayInclude("rewards/format.cc", "\"kernels/matmul.h\""));
  EXPECT_TRUE(MayInclude("rollout/worker.cc", "\"rewards/reward.h\""));
  EXPECT_FALSE(MayInclude("rollout/worker.cc", "\"learner/batcher.h\""));
  EXPECT_FALSE(MayInclude("rollout/worker.cc", "\"cli/main.h\""));
  EXPECT_TRUE(MayInclude("learner/batcher.cc", "\"kernels/matmul.h\""));
  EXPECT_FALSE(MayInclude("learner/batcher.cc", "\"rollout/worker.h\""));
  EXPECT_FALSE(MayInclude("learner/batcher.cc", "\"rewards/reward.h\""));
  EXPECT_TRUE(MayInclude("cli/run.cc", "\"rollout/worker.h\""));
  EXPECT_TRUE(MayInclude("cli/run.cc", "\"learner/batcher.h\""));
}

TEST(IncludeRuleTest, TestsFollowTheFolderThatTheyMirror) {
  EXPECT_FALSE(MayInclude("tests/rollout/worker_test.cc", "\"learner/batcher.h\""));
  EXPECT_TRUE(MayInclude("tests/e2e/parity_test.cc", "\"learner/batcher.h\""));
  EXPECT_TRUE(MayInclude("tests/e2e/parity_test.cc", "\"rollout/worker.h\""));
}

TEST(IncludeRuleTest, OutsideHeadersHaveTheirPlace) {
  EXPECT_TRUE(MayInclude("learner/policy/policy.cc", "<torch/torch.h>"));
  EXPECT_FALSE(MayInclude("rollout/worker.cc", "<torch/torch.h>"));
  EXPECT_FALSE(MayInclude("kernels/cpu/matmul.cc", "<ATen/ATen.h>"));
  EXPECT_FALSE(MayInclude("rewards/math.cc", "<cuda_runtime.h>"));
  EXPECT_TRUE(MayInclude("kernels/cuda/matmul.cu", "<cuda_runtime.h>"));
  EXPECT_TRUE(MayInclude("learner/collectives.cc", "<mpi.h>"));
  EXPECT_FALSE(MayInclude("learner/batcher.cc", "<mpi.h>"));
  EXPECT_FALSE(MayInclude("cli/run.cc", "<nccl.h>"));
  EXPECT_TRUE(MayInclude("learner/lease_service.cc", "<grpcpp/grpcpp.h>"));
  EXPECT_TRUE(MayInclude("rollout/lease_client.h", "\"proto/rollout.grpc.pb.h\""));
  EXPECT_TRUE(MayInclude("tests/learner/lease_service_test.cc", "<grpcpp/grpcpp.h>"));
  EXPECT_FALSE(MayInclude("learner/learner.cc", "\"proto/rollout.grpc.pb.h\""));
  EXPECT_FALSE(MayInclude("cli/run.cc", "<grpcpp/grpcpp.h>"));
  EXPECT_FALSE(MayInclude("kernels/x_service.cc", "<grpcpp/grpcpp.h>"));
}

TEST(LineLengthRuleTest, CountsCharactersNotBytes) {
  EXPECT_EQ(Count(CheckLineLength, "a.cc", std::string(100, 'x') + "\n"), 0u);
  EXPECT_EQ(Count(CheckLineLength, "a.cc", std::string(101, 'x') + "\n"), 1u);
  EXPECT_EQ(Count(CheckLineLength, "a.proto", std::string(101, 'x') + "\n"), 1u);
  EXPECT_EQ(Count(CheckLineLength, "x/CMakeLists.txt", std::string(101, 'x') + "\n"), 1u);
  EXPECT_EQ(Count(CheckLineLength, "a.md", std::string(101, 'x') + "\n"), 0u);
  EXPECT_EQ(Count(CheckLineLength, "a.cc", std::string(99, 'x') + "é\n"), 0u);
}

TEST(CharacterRuleTest, EachBlemishIsFound) {
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "int a;\n\nint b;\n"), 0u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "int a; \n"), 1u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "\tint a;\n"), 1u);
  EXPECT_EQ(Count(CheckCharacters, "Makefile", "\tint a;\n"), 0u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "int a;\r\n"), 1u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "\x1B[0m\n"), 1u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "\xFF\n"), 1u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "int a;"), 1u);
  EXPECT_EQ(Count(CheckCharacters, "a.cc", "int a;\n\n"), 1u);
}

TEST(MarkerRuleTest, MarkersAreWords) {
  EXPECT_EQ(Count(CheckMarkers, "a.cc", "// TODO(me): later\n"), 1u);
  EXPECT_EQ(Count(CheckMarkers, "a.toml", "# FIXME\n"), 1u);
  EXPECT_EQ(Count(CheckMarkers, "a.cc", "mkstemp(\"aXXXXXX\");\n"), 0u);
}

TEST(MacroRuleTest, NamesAndPragmaOnce) {
  EXPECT_EQ(Count(CheckMacros, "a.h", "#pragma once\n#define R1_A 1\n"), 0u);
  EXPECT_EQ(Count(CheckMacros, "a.h", "#pragma once\n#define CHECK(x) x\n"), 1u);
  EXPECT_EQ(Count(CheckMacros, "a.h", "#ifndef A_H\n#define A_H\n#endif\n"), 2u);
  EXPECT_EQ(Count(CheckMacros, "a.cc", "int a;\n"), 0u);
}

TEST(BannedCallRuleTest, CodeIsSearchedButNotCommentsAndStrings) {
  EXPECT_EQ(Count(CheckBannedCalls, "common/a.cc", "std::string_view a;\n"), 1u);
  EXPECT_EQ(Count(CheckBannedCalls, "tests/common/a.cc", "std::string_view a;\n"), 1u);
  EXPECT_EQ(Count(CheckBannedCalls, "common/a.cc",
                  "// std::string_view\n/* rand()\n rand() */ f(\"rand()\");\n"),
            0u);
  EXPECT_EQ(Count(CheckBannedCalls, "common/a.cc", "f(R\"(\n rand(\n)\"); g();\n"), 0u);
  EXPECT_EQ(Count(CheckBannedCalls, "common/a.cc", "int a = 1'000 + rand();\n"), 1u);
  EXPECT_EQ(Count(CheckBannedCalls, "common/a.cc", "char a = '\"'; rand();  // \"\n"), 1u);
  EXPECT_EQ(
      Count(CheckBannedCalls, "common/a.cc", "operand(1); static_assert(true); snprintf(a);\n"),
      0u);
}

TEST(BannedCallRuleTest, SomeCallsHaveTheirPlace) {
  const std::string text = "a = std::chrono::steady_clock::now();\n";
  EXPECT_EQ(Count(CheckBannedCalls, "learner/a.cc", text), 1u);
  EXPECT_EQ(Count(CheckBannedCalls, "common/clock.cc", text), 0u);
  EXPECT_EQ(Count(CheckBannedCalls, "tests/learner/a_test.cc", text), 0u);
}

TEST(ProtoRuleTest, NamesAreUniform) {
  EXPECT_EQ(Count(CheckProtoNames, "a.proto",
                  "message A {\n  int32 a = 1\n      [(Rule) = {Min: 1}];\n}\n"),
            0u);
  EXPECT_EQ(Count(CheckProtoNames, "a.proto",
                  "message A {\n  int32 step_count = 1;\n}\nenum B {\n  B_NONE = 0;\n}\n"),
            0u);
  EXPECT_EQ(Count(CheckProtoNames, "a.proto", "message A {\n  int32 stepCount = 1;\n}\n"), 1u);
  EXPECT_EQ(Count(CheckProtoNames, "a.proto", "message a_b {\n}\n"), 1u);
  EXPECT_EQ(Count(CheckProtoNames, "a.proto", "enum B {\n  none = 0;\n}\n"), 1u);
}

TEST(ConfigRuleTest, ShortWithAComment) {
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += "# x\n";
  EXPECT_EQ(Count(CheckConfigs, "configs/a.toml", lines), 0u);
  EXPECT_EQ(Count(CheckConfigs, "configs/a.toml", lines + "# x\n"), 1u);
  EXPECT_EQ(Count(CheckConfigs, "configs/a.toml", "[run]\n"), 1u);
  EXPECT_EQ(Count(CheckConfigs, "tests/a.toml", "[run]\n"), 0u);
}

TEST(ViolationTest, SaysWhere) {
  const std::vector<Violation> violations =
      CheckMarkers(MakeSourceFile("a.cc", "int a;\n// XXX\n"));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].path, "a.cc");
  EXPECT_EQ(violations[0].line, 2);
  EXPECT_THAT(violations[0].what, HasSubstr("leftover marker"));
  EXPECT_THAT(CheckMarkers(MakeSourceFile("a.cc", "int a;\n")), IsEmpty());
}

}  // namespace
}  // namespace r1::tidy
