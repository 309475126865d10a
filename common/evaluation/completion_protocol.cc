#include "common/evaluation/completion_protocol.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/json.h"
#include "common/network_address.h"
#include "common/utf8.h"

namespace r1 {
namespace {

using nlohmann::json;

constexpr absl::string_view kChatRoute = "/chat/completions";
constexpr absl::string_view kTextRoute = "/completions";
constexpr int64_t kTokensMax = int64_t{1} << 40;
constexpr size_t kErrorBytesMax = 300;

// The thinking that a server returned apart from the answer; its name varies.
absl::StatusOr<std::string> Thinking(const JsonFields& message) {
  R1_ASSIGN_OR_RETURN(const std::string content, message.String("reasoning_content", ""));
  if (!content.empty()) return content;
  const json* reasoning = message.FindOrNull("reasoning");
  return reasoning != nullptr && reasoning->is_string() ? reasoning->get<std::string>() : "";
}

absl::StatusOr<std::string> ChatText(const JsonFields& choice) {
  const json* found = choice.FindOrNull("message");
  if (found == nullptr || !found->is_object()) return choice.Error("message", "an object");
  const JsonFields message(*found, "choices[0].message");
  R1_ASSIGN_OR_RETURN(const std::string thinking, Thinking(message));
  const json* content = message.FindOrNull("content");
  // Null beside thinking: the output ended inside of it.
  if (content == nullptr && !thinking.empty()) return absl::StrCat("<think>\n", thinking);
  R1_ASSIGN_OR_RETURN(const std::string text, message.String("content"));
  if (thinking.empty()) return text;
  return absl::StrCat("<think>\n", thinking, "\n</think>\n\n", text);
}

}  // namespace

std::string CompletionBody(const CompletionRequest& request) {
  json body = {{"model", request.model}, {"temperature", request.temperature},
               {"top_p", request.top_p}, {"max_tokens", request.tokens_max},
               {"seed", request.seed},   {"stream", false}};
  if (request.chat) {
    body["messages"] = {{{"role", "user"}, {"content", request.prompt}}};
  } else {
    body["prompt"] = request.prompt;
  }
  body.merge_patch(request.extra);
  return DumpJson(body);
}

absl::StatusOr<Completion> ParseCompletion(absl::string_view body, bool chat) {
  R1_ASSIGN_OR_RETURN(const json reply, ParseJson(body, "reply"));
  if (!reply.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("reply: expected an object, found ", DescribeJson(reply)));
  }
  const JsonFields fields(reply, "reply");
  const json* choices = fields.FindOrNull("choices");
  if (choices == nullptr || !choices->is_array() || choices->empty() ||
      !choices->front().is_object()) {
    return fields.Error("choices", "a list with an object");
  }
  const JsonFields choice(choices->front(), "choices[0]");
  Completion completion;
  if (chat) {
    R1_ASSIGN_OR_RETURN(completion.text, ChatText(choice));
  } else {
    R1_ASSIGN_OR_RETURN(completion.text, choice.String("text"));
  }
  R1_ASSIGN_OR_RETURN(completion.finish_reason, choice.String("finish_reason", "stop"));
  const json* usage = fields.FindOrNull("usage");
  if (usage == nullptr || !usage->is_object()) return completion;
  const JsonFields counts(*usage, "usage");
  if (counts.FindOrNull("completion_tokens") == nullptr) return completion;
  R1_ASSIGN_OR_RETURN(completion.tokens, counts.Integer("completion_tokens", {0, kTokensMax}));
  return completion;
}

std::string CompletionError(absl::string_view body) {
  const absl::StatusOr<json> parsed = ParseJson(body, "reply");
  std::string text(body);
  if (parsed.ok() && parsed->is_object()) {
    const auto string_at = [](const json& object, const char* key) -> std::string {
      const auto found = object.find(key);
      return found != object.end() && found->is_string() ? found->get<std::string>() : "";
    };
    std::string message;
    if (parsed->contains("error") && (*parsed)["error"].is_object()) {
      message = string_at((*parsed)["error"], "message");
    }
    for (const char* key : {"error", "message", "detail"}) {
      if (message.empty()) message = string_at(*parsed, key);
    }
    if (!message.empty()) text = message;
  }
  return Quoted(text, kErrorBytesMax);
}

absl::StatusOr<EndpointUrl> ParseEndpointUrl(absl::string_view url, bool chat) {
  const auto error = [url](absl::string_view expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("--endpoint: expected ", expected, ", found ", Quoted(url)));
  };
  EndpointUrl parsed;
  absl::string_view rest = url;
  parsed.is_encrypted = absl::ConsumePrefix(&rest, "https://");
  if (!parsed.is_encrypted && !absl::ConsumePrefix(&rest, "http://")) {
    return error("a URL that begins with http:// or https://");
  }
  const bool is_plain = std::all_of(rest.begin(), rest.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && !absl::StrContains("@?#\\\"<>", c);
  });
  if (!is_plain) return error("a URL without user name, query, fragment or spaces");
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string host(rest.substr(0, slash));
  // An address without a port has its scheme's.
  const size_t bracket = host.rfind(']');
  const bool has_port =
      host.find(':', bracket == std::string::npos ? 0 : bracket) != std::string::npos;
  const std::string address =
      has_port ? host : absl::StrCat(host, parsed.is_encrypted ? ":443" : ":80");
  const absl::StatusOr<NetworkAddress> parsed_address = ParseNetworkAddress(address);
  if (!parsed_address.ok() || parsed_address->port == 0) {
    return error("a host and perhaps a port");
  }
  parsed.origin = absl::StrCat(parsed.is_encrypted ? "https://" : "http://", host);
  parsed.is_loopback = CheckLoopback(address, "endpoint").ok();
  absl::string_view path = absl::StripSuffix(rest.substr(slash), "/");
  const bool names_chat = absl::ConsumeSuffix(&path, kChatRoute);
  const bool names_text = !names_chat && absl::ConsumeSuffix(&path, kTextRoute);
  if ((names_chat && !chat) || (names_text && chat)) {
    return error(chat ? "/chat/completions, as prompt.style = \"chat\" needs"
                      : "/completions, for prompt.style is not \"chat\"");
  }
  parsed.path = absl::StrCat(path, chat ? kChatRoute : kTextRoute);
  return parsed;
}

}  // namespace r1
