// Queries of the status API: what is read, and that everything else is refused with a reason.

#include "common/query_string.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace r1 {
namespace {

using testing::HasSubstr;

std::string ErrorOf(absl::string_view query) {
  const auto parsed = QueryString::Parse(query);
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

TEST(QueryStringTest, DecodesNamesAndValues) {
  const auto query =
      QueryString::Parse("keys=reward%2Fmean,eval%2f%2A&text=a+b%20c%3D%26&empty=&flag");
  ASSERT_TRUE(query.ok()) << query.status();
  EXPECT_EQ(query->Text("keys", ""), "reward/mean,eval/*");
  EXPECT_EQ(query->Text("text", ""), "a b c=&");
  EXPECT_EQ(query->Text("empty", "otherwise"), "");
  EXPECT_EQ(query->Text("flag", "otherwise"), "");
  EXPECT_EQ(query->Text("absent", "otherwise"), "otherwise");
}

TEST(QueryStringTest, AnEmptyQueryHasNoParameters) {
  const auto query = QueryString::Parse("");
  ASSERT_TRUE(query.ok());
  EXPECT_TRUE(query->CheckKnown({}).ok());
}

TEST(QueryStringTest, MalformedQueriesAreRefusedWithTheReason) {
  EXPECT_THAT(ErrorOf("a=%"), HasSubstr("two hexadecimal digits"));
  EXPECT_THAT(ErrorOf("a=%4"), HasSubstr("two hexadecimal digits"));
  EXPECT_THAT(ErrorOf("a=%4g"), HasSubstr("two hexadecimal digits"));
  EXPECT_THAT(ErrorOf("a=%FF"), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf("=1"), HasSubstr("without a name"));
  EXPECT_THAT(ErrorOf("a=1&&b=2"), HasSubstr("without a name"));
  EXPECT_THAT(ErrorOf("a=1&%61=2"), HasSubstr("a is given twice"));
  EXPECT_THAT(ErrorOf(std::string(9000, 'a')), HasSubstr("9000 bytes"));
  std::string many;
  for (int i = 0; i < 40; ++i) absl::StrAppend(&many, i == 0 ? "" : "&", "p", i, "=1");
  EXPECT_THAT(ErrorOf(many), HasSubstr("more than 32"));
}

TEST(QueryStringTest, UnknownParametersAreNamedWithTheKnownOnes) {
  const auto query = QueryString::Parse("sinse=3");
  ASSERT_TRUE(query.ok());
  EXPECT_TRUE(query->CheckKnown({"since", "sinse"}).ok());
  EXPECT_THAT(std::string(query->CheckKnown({"since", "keys"}).message()),
              HasSubstr("unknown parameter sinse; known here: since, keys"));
}

TEST(QueryStringTest, IntegersAreCheckedAgainstTheirRange) {
  const auto query =
      QueryString::Parse("low=-1&high=9223372036854775807&big=9223372036854775808&text=1x");
  ASSERT_TRUE(query.ok());
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(*query->Integer("low", 0, -1, 5), -1);
  EXPECT_EQ(*query->Integer("high", 0, 0, kMax), kMax);
  EXPECT_EQ(*query->Integer("absent", 7, 0, 5), 7);
  EXPECT_THAT(std::string(query->Integer("low", 0, 0, 5).status().message()),
              HasSubstr("low must be an integer from 0 to 5, found \"-1\""));
  EXPECT_FALSE(query->Integer("big", 0, 0, kMax).ok());
  EXPECT_FALSE(query->Integer("text", 0, 0, kMax).ok());
}

}  // namespace
}  // namespace r1
