// The prompts that R1-Zero was trained with and that R1 is evaluated with.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "common/chat_template.h"
#include "common/status.h"

namespace r1 {

// A chat template with R1-Zero's prompt (DeepSeek-R1, 2501.12948, table 1): the preamble, the last
// user message, an open turn of the assistant. For base models; no other message is looked at.
// DEVIATION: line breaks stand before "User:" and "Assistant:" where the paper's table sets them
// into running text, with a full stop behind the question.
absl::string_view R1ZeroTemplate();

// R1's usage rules (the model card of deepseek-ai/DeepSeek-R1, "Usage Recommendations"):
// mathematics asks for step-by-step reasoning and an answer in \boxed{}, in the user's message and
// not in a system prompt.
absl::string_view R1MathInstruction();

// The variables with that instruction behind the last user message's text, unless it is there.
// InvalidArgument: `messages` has a system message, or no user message with a text at its end.
[[nodiscard]] absl::StatusOr<std::string> AddR1MathInstruction(absl::string_view variables_json,
                                                               absl::string_view where);

// The other rule: the reply is forced to open with "<think>\n". Appended, as the template's own
// text, unless the prompt ends with it already.
void ForceThinking(RenderedChat& chat);

}  // namespace r1
