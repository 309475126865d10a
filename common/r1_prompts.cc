#include "common/r1_prompts.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"

namespace r1 {
namespace {

constexpr absl::string_view kThinkOpening = "<think>\n";

}  // namespace

absl::string_view R1ZeroTemplate() {
  return R"({%- set users = messages | selectattr("role", "equalto", "user") | list -%}
{%- if not users %}{{ raise_exception("the R1-Zero prompt needs a user message") }}{% endif -%}
{{- "A conversation between User and Assistant. The user asks a question, and the Assistant " }}
{{- "solves it. The assistant first thinks about the reasoning process in the mind and then " }}
{{- "provides the user with the answer. The reasoning process and answer are enclosed within " }}
{{- "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning " }}
{{- "process here </think> <answer> answer here </answer>.\nUser: " }}
{{- users[-1].content | trim }}
{{- "\nAssistant:" }}
)";
}

absl::string_view R1MathInstruction() {
  return "Please reason step by step, and put your final answer within \\boxed{}.";
}

absl::StatusOr<std::string> AddR1MathInstruction(absl::string_view variables_json,
                                                 absl::string_view where) {
  R1_RETURN_IF_ERROR(ParseJson(variables_json, where).status());  // its bounds and its errors
  auto variables = nlohmann::ordered_json::parse(variables_json.begin(), variables_json.end());
  const auto error = [where](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": messages: ", what));
  };
  if (!variables.is_object() || !variables.contains("messages") ||
      !variables["messages"].is_array() || variables["messages"].empty()) {
    return error("expected an array of objects");
  }
  const auto has_role = [](const nlohmann::ordered_json& message, const char* role) {
    return message.is_object() && message.contains("role") && message["role"] == role;
  };
  nlohmann::ordered_json& messages = variables["messages"];
  for (const nlohmann::ordered_json& message : messages) {
    if (has_role(message, "system")) {
      return error("expected no system message: R1's rules put instructions into the user's");
    }
  }
  nlohmann::ordered_json& last = messages.back();
  if (!has_role(last, "user") || !last.contains("content") || !last["content"].is_string()) {
    return error("expected a user message with a text at the end");
  }
  const auto content = last["content"].get<std::string>();
  if (!absl::StrContains(content, R1MathInstruction())) {
    last["content"] = absl::StrCat(content, "\n", R1MathInstruction());
  }
  return variables.dump();
}

void ForceThinking(RenderedChat& chat) {
  if (absl::EndsWith(chat.text, kThinkOpening)) return;
  absl::StrAppend(&chat.text, kThinkOpening);
}

}  // namespace r1
