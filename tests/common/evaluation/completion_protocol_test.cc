#include "common/evaluation/completion_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/json.h"

namespace r1 {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(CompletionBodyTest, ChatAndText) {
  CompletionRequest request{.model = "m", .prompt = "a\n\"b\"", .tokens_max = 5, .seed = 7};
  nlohmann::json body = ParseJson(CompletionBody(request), "body").value();
  EXPECT_EQ(body["messages"][0]["content"], "a\n\"b\"");
  EXPECT_EQ(body["max_tokens"], 5);
  EXPECT_FALSE(body.contains("n"));
  request.chat = false;
  request.extra = {{"seed", nullptr}, {"max_tokens", 9}, {"top_k", 20}};
  body = ParseJson(CompletionBody(request), "body").value();
  EXPECT_EQ(body["prompt"], "a\n\"b\"");
  EXPECT_FALSE(body.contains("messages"));
  EXPECT_FALSE(body.contains("seed"));
  EXPECT_EQ(body["max_tokens"], 9);
  EXPECT_EQ(body["top_k"], 20);
}

TEST(ParseCompletionTest, ChatAndText) {
  const auto chat = ParseCompletion(
      R"({"choices":[{"message":{"content":"hi"},"finish_reason":"length"}],)"
      R"("usage":{"completion_tokens":12}})",
      /*chat=*/true);
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->text, "hi");
  EXPECT_EQ(chat->finish_reason, "length");
  EXPECT_EQ(chat->tokens, 12);
  const auto text = ParseCompletion(R"({"choices":[{"text":"hi"}],"usage":null})", /*chat=*/false);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->finish_reason, "stop");
  EXPECT_FALSE(text->tokens.has_value());
}

TEST(ParseCompletionTest, ThinkingThatWasTakenOutIsPutBack) {
  for (const char* name : {"reasoning_content", "reasoning"}) {
    const std::string head = absl::StrCat(R"({"choices":[{"message":{")", name, R"(":"t",)");
    const auto whole = ParseCompletion(absl::StrCat(head, R"("content":"c"}}]})"), true);
    ASSERT_TRUE(whole.ok()) << whole.status();
    EXPECT_EQ(whole->text, "<think>\nt\n</think>\n\nc");
    const auto cut = ParseCompletion(absl::StrCat(head, R"("content":null}}]})"), true);
    ASSERT_TRUE(cut.ok()) << cut.status();
    EXPECT_EQ(cut->text, "<think>\nt");
  }
}

TEST(ParseCompletionTest, WhatIsMissingIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "reply"},
      {"[]", "expected an object"},
      {"{}", "choices"},
      {R"({"choices":[]})", "choices"},
      {R"({"choices":[1]})", "choices"},
      {R"({"choices":[{}]})", "message"},
      {R"({"choices":[{"message":{}}]})", "content"},
      {R"({"choices":[{"message":{"content":["a"]}}]})", "content"},
      {R"({"choices":[{"message":{"content":"a"},"finish_reason":3}]})", "finish_reason"},
      {R"({"choices":[{"message":{"content":"a"}}],"usage":{"completion_tokens":-1}})",
       "completion_tokens"},
  };
  for (const auto& [body, name] : cases) {
    const auto parsed = ParseCompletion(body, /*chat=*/true);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << body;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(name)) << body;
  }
}

TEST(CompletionErrorTest, FindsTheMessageAndBoundsIt) {
  EXPECT_EQ(CompletionError(R"({"error":{"message":"too \"long\""}})"), R"("too \"long\"")");
  EXPECT_EQ(CompletionError(R"({"error":"no"})"), "\"no\"");
  EXPECT_EQ(CompletionError(R"({"detail":"no"})"), "\"no\"");
  EXPECT_EQ(CompletionError("<html>\n"), "\"<html>\\n\"");
  EXPECT_LT(CompletionError(std::string(100000, 'x')).size(), 400u);
}

TEST(EndpointUrlTest, Parts) {
  const auto url = ParseEndpointUrl("https://api.example.com/v1/", /*chat=*/true);
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->origin, "https://api.example.com");
  EXPECT_EQ(url->path, "/v1/chat/completions");
  EXPECT_TRUE(url->is_encrypted);
  EXPECT_FALSE(url->is_loopback);
  for (const char* local : {"http://127.0.0.1:8000", "http://localhost/v1", "http://[::1]:80/x"}) {
    const auto parsed = ParseEndpointUrl(local, /*chat=*/false);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(parsed->is_loopback) << local;
    EXPECT_THAT(parsed->path, testing::EndsWith("/completions"));
    EXPECT_THAT(parsed->path, Not(HasSubstr("chat")));
  }
  EXPECT_FALSE(ParseEndpointUrl("http://127.0.0.1.example.com/v1", true)->is_loopback);
  for (const char* bad : {"", "localhost:80", "http:///v1", "https://a:b@c/", "http://a/?x=1",
                          "http://a:0/", "http://a\r\nb/", "http://a/#x"}) {
    EXPECT_FALSE(ParseEndpointUrl(bad, true).ok()) << bad;
  }
}

}  // namespace
}  // namespace r1
