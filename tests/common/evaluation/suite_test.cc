#include "common/evaluation/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/filesystem.h"

namespace r1 {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMinimal[] = "name = \"x\"\n[[reward]]\nname = \"math\"\n";

std::string Problem(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto loaded = LoadSuiteText("s.toml", text, overrides);
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(loaded.status().message());
}

TEST(SuiteTest, DefaultsAreThePublishedSettings) {
  const auto loaded = LoadSuiteText("s.toml", kMinimal, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->suite.sampling().temperature(), 0.6);
  EXPECT_EQ(loaded->suite.sampling().top_p(), 0.95);
  EXPECT_EQ(loaded->suite.sampling().tokens_max(), 32768);
  EXPECT_TRUE(loaded->suite.prompt().force_think());
  EXPECT_EQ(loaded->suite.prompt().style(), "chat");
  EXPECT_EQ(loaded->suite.data().format(), "rows");
}

TEST(SuiteTest, EverySuiteOfTheRepositoryLoads) {
  const auto names = RealFileSystem().List("configs/eval");
  ASSERT_TRUE(names.ok());
  EXPECT_GE(names->size(), 8u);
  for (const std::string& name : *names) {
    const auto loaded = LoadSuite(absl::StrCat("configs/eval/", name), {});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(absl::StrCat(loaded->suite.name(), ".toml"), name);
    EXPECT_EQ(loaded->suite.sampling().temperature(), 0.6) << name;
    EXPECT_EQ(loaded->suite.sampling().top_p(), 0.95) << name;
    EXPECT_EQ(loaded->suite.sampling().tokens_max(), 32768) << name;
  }
}

TEST(SuiteTest, ProblemsNameTheirPlaceAndTheNearestKey) {
  EXPECT_THAT(Problem("nme = \"x\"\n[[reward]]\nname = \"math\"\n"),
              HasSubstr("s.toml:1:1: nme: expected a key at the top of the file, found unknown "
                        "\"nme\"; did you mean \"name\"?"));
  EXPECT_THAT(Problem(absl::StrCat(kMinimal, "[sampling]\ntop_q = 0.9\n")),
              HasSubstr("s.toml:5:1: sampling.top_q: expected a key of sampling, found unknown "
                        "\"top_q\"; did you mean \"top_p\"?"));
  // A key that belongs into another section of this schema, and none of run configs.
  EXPECT_THAT(Problem(absl::StrCat(kMinimal, "[prompt]\ntemperature = 1\n")),
              HasSubstr("did you mean \"sampling.temperature\"?"));
  EXPECT_THAT(Problem(absl::StrCat(kMinimal, "[prompt]\nkl_coef = 1\n")), Not(HasSubstr("grpo")));
  EXPECT_THAT(Problem(absl::StrCat(kMinimal, "[sampling]\nsamples = 0\n")),
              HasSubstr("s.toml:5:11: sampling.samples: expected an integer from 1 to 1024"));
  EXPECT_THAT(Problem(absl::StrCat(kMinimal, "[data]\nformat = \"humanevl\"\n")),
              HasSubstr("did you mean \"humaneval\"?"));
  EXPECT_THAT(Problem("[[reward]]\nname = \"math\"\n"), HasSubstr("name: expected a string"));
  EXPECT_THAT(Problem("name = \"x\"\n"), HasSubstr("reward: expected at least one [[reward]]"));
  EXPECT_THAT(Problem("name = \"a b\"\n[[reward]]\nname = \"math\"\n"),
              HasSubstr("name: expected 1 to 64 letters"));
}

TEST(SuiteTest, ContradictionsAreRefused) {
  EXPECT_THAT(Problem(kMinimal, {"prompt.template=no place"}), HasSubstr("expected {prompt} once"));
  EXPECT_THAT(Problem(kMinimal, {"prompt.template=a {prompt}{prompt}"}), HasSubstr("once"));
  EXPECT_THAT(Problem(kMinimal, {"metrics=[\"cons@64\"]"}), HasSubstr("at most the 1 samples"));
  EXPECT_THAT(Problem(kMinimal, {"metrics=[\"pas@4\"]"}), HasSubstr("did you mean \"pass\"?"));
  EXPECT_THAT(Problem("name = \"x\"\nmetrics = [\"maj@1\"]\n[[reward]]\nname = \"code\"\n"),
              HasSubstr("a first reward that finds the answer"));
  EXPECT_THAT(Problem(kMinimal, {"metrics=[\"rating\"]"}), HasSubstr("codeforces"));
  EXPECT_THAT(Problem(kMinimal, {"data.format=multiple_choice"}), HasSubstr("choice_columns"));
  EXPECT_THAT(Problem(kMinimal, {"data.choice_columns=[\"a\"]"}), HasSubstr("choice_columns"));
  EXPECT_THAT(Problem(kMinimal, {"data.date_from=\"2024-08-01\""}), HasSubstr("livecodebench"));
  EXPECT_THAT(Problem(kMinimal, {"data.format=livecodebench", "data.date_from=\"2024-13-01\""}),
              HasSubstr("expected a day"));
  EXPECT_THAT(Problem(kMinimal, {"data.format=livecodebench", "data.date_from=\"2024-08-01\"",
                                 "data.date_to=\"2024-07-01\""}),
              HasSubstr("not before"));
}

TEST(SuiteTest, ResolvedTextLoadsAgain) {
  const auto loaded = LoadSuite("configs/eval/gpqa.toml", {"sampling.samples=64"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::string toml = ConfigToToml(loaded->suite);
  const auto again = LoadSuiteText("again.toml", toml, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ConfigToToml(again->suite), toml);
  EXPECT_TRUE(ChangedFields(loaded->suite, again->suite, /*include_safe=*/true).empty());
  v1::EvaluationSuite other = again->suite;
  other.mutable_sampling()->set_temperature(0.7);
  other.mutable_sampling()->set_samples(8);
  EXPECT_THAT(ChangedFields(loaded->suite, other, /*include_safe=*/false),
              ::testing::ElementsAre("sampling.temperature"));
}

TEST(SuiteMetricTest, Names) {
  EXPECT_EQ(ParseSuiteMetric("cons@64")->k, 64);
  EXPECT_EQ(ParseSuiteMetric("greedy")->kind, SuiteMetric::Kind::kGreedy);
  for (const char* bad : {"", "pass", "pass@", "pass@0", "pass@-1", "pass@08", "pass@1.5",
                          "greedy@2", "maj@129", "cons@99999999999999999999", "@"}) {
    EXPECT_FALSE(ParseSuiteMetric(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace r1
