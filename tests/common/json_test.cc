// Bounded JSON and UTF-8: what is refused, and that messages neither leak nor break.

#include "common/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/utf8.h"

namespace r1 {
namespace {

using testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  const auto parsed = ParseJson(text, "f:3");
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(parsed.status().message());
}

TEST(ParseJsonTest, RefusesWhatIsMalformedDuplicatedOrDeep) {
  EXPECT_THAT(ErrorOf("{\"a\":}"), HasSubstr("f:3: parse error at line 1, column 6"));
  EXPECT_THAT(ErrorOf("{\"a\":1,\"b\":{\"a\":2},\"a\":3}"), HasSubstr("\"a\" occurs twice"));
  EXPECT_THAT(ErrorOf("\"\xff\""), HasSubstr("ill-formed UTF-8"));
  EXPECT_THAT(ErrorOf("\"\\ud800\""), HasSubstr("parse error"));
  EXPECT_THAT(ErrorOf("1e999"), HasSubstr("number overflow"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("parse error"));
  EXPECT_THAT(ErrorOf("1 2"), HasSubstr("parse error"));
  EXPECT_THAT(ErrorOf(std::string(1000000, '[')), HasSubstr("nested deeper than 64 levels"));
  const std::string deepest = std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']');
  EXPECT_TRUE(ParseJson(deepest, "f").ok());
  EXPECT_FALSE(ParseJson("[" + deepest + "]", "f").ok());
}

TEST(ParseJsonTest, MessagesAreShortPrintableText) {
  const std::string message = ErrorOf("{\"" + std::string(100000, 'x') + "\n\x01\"");
  EXPECT_LT(message.size(), 1000u);
  for (const char c : message) EXPECT_TRUE(c >= ' ' || static_cast<unsigned char>(c) >= 0x80);
}

TEST(DumpJsonTest, EscapesAndRepairs) {
  EXPECT_EQ(JsonString("a\"b\n\x01<\xff>"), "\"a\\\"b\\n\\u0001<\xEF\xBF\xBD>\"");
  EXPECT_EQ(DumpJson({{"b", 1}, {"a", {1.5, nullptr}}}), "{\"a\":[1.5,null],\"b\":1}");
}

// A naive decoder in the opposite style: all code points are encoded, so what they do not cover is
// invalid.
std::string Encode(uint32_t code_point) {
  std::string text;
  if (code_point < 0x80) {
    text = {static_cast<char>(code_point)};
  } else if (code_point < 0x800) {
    text = {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 63))};
  } else if (code_point < 0x10000) {
    text = {static_cast<char>(0xE0 | code_point >> 12),
            static_cast<char>(0x80 | (code_point >> 6 & 63)),
            static_cast<char>(0x80 | (code_point & 63))};
  } else {
    text = {static_cast<char>(0xF0 | code_point >> 18),
            static_cast<char>(0x80 | (code_point >> 12 & 63)),
            static_cast<char>(0x80 | (code_point >> 6 & 63)),
            static_cast<char>(0x80 | (code_point & 63))};
  }
  return text;
}

TEST(Utf8Test, ExactlyTheScalarValuesAreValid) {
  for (uint32_t code_point = 0; code_point < 0x110400; ++code_point) {
    const bool scalar = code_point < 0x110000 && (code_point < 0xD800 || code_point > 0xDFFF);
    const std::string text = Encode(code_point);
    ASSERT_EQ(IsValidUtf8(text), scalar) << code_point;
    ASSERT_EQ(ReplaceInvalidUtf8(text) == text, scalar) << code_point;
  }
  EXPECT_FALSE(IsValidUtf8("\xC0\x80"));          // overlong
  EXPECT_FALSE(IsValidUtf8("\xE0\x80\x80"));      // overlong
  EXPECT_FALSE(IsValidUtf8("\xF0\x80\x80\x80"));  // overlong
}

// The examples of the Unicode standard, table 3-11 and its neighbours.
TEST(Utf8Test, EachMaximalInvalidPartBecomesOneReplacement) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(ReplaceInvalidUtf8("a\xF1\x80\x80\xE1\x80\xC2"
                               "b\x80"
                               "c\x80\xBF"
                               "d"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE1\xA0\xC0\x2E"), r + r + ".");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80"), r + r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98"), r);
  EXPECT_EQ(ReplaceInvalidUtf8(""), "");
}

TEST(Utf8Test, QuotedTextIsPrintableAndBounded) {
  EXPECT_EQ(Quoted("a\n\"\xff"), "\"a\\n\\\"\\xff\"");
  EXPECT_EQ(Quoted(std::string(100, 'x'), 3), "\"xxx…\"");
}

}  // namespace
}  // namespace r1
