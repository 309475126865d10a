// Chat templates: a conversation as the text of a prompt, through the Jinja template that a model
// ships. The text equals that of transformers' apply_chat_template byte for byte; the language and
// what is left out of it are in common/jinja/parser.h, the reasons in
// docs/decisions/0006-own-chat-template-interpreter.md.
//
// A rendered prompt knows which parts the template wrote and which came in as content, so that a
// message can never put a special token into the prompt (EncodeChat).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/jinja/syntax.h"
#include "common/status.h"
#include "common/tokenizer.h"

namespace r1 {

struct RenderedChat {
  std::string text;
  // What came in as content; sorted, disjoint. The rest is the template's, or a special token's.
  std::vector<TextRange> content;
};

struct ChatTemplateLimits {
  uint64_t source_bytes_max = 1 << 20;
  uint64_t output_bytes_max = 64 << 20;
  // Steps and bytes (jinja/budget.h), and more of them for larger inputs: about a second of work.
  uint64_t work_max = 20'000'000;
  uint64_t work_per_input_byte = 100;
};

// Immutable; thread-safe.
class ChatTemplate {
 public:
  // InvalidArgument: "line N: …", also for what this subset of Jinja leaves out.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Parse(
      absl::string_view source, const ChatTemplateLimits& limits = {});

  // `variables_json`: an object with `messages` and whatever else the template asks for: `tools`,
  // `documents` (none unless given), `add_generation_prompt` (false unless given), `bos_token`
  // and the other special tokens (undefined unless given). `where` begins the errors.
  // InvalidArgument: what the template refuses (raise_exception), or an error in it.
  // ResourceExhausted: a limit.
  [[nodiscard]] absl::StatusOr<RenderedChat> Render(absl::string_view variables_json,
                                                    absl::string_view where,
                                                    absl::Time now = absl::Now()) const;

 private:
  ChatTemplate(jinja::Body body, const ChatTemplateLimits& limits)
      : body_(std::move(body)), limits_(limits) {}

  const jinja::Body body_;
  const ChatTemplateLimits limits_;
};

// The prompt's ids, as tokenizing its text gives them, but for added tokens in content: those are
// text like any other. No BOS is put in front, since templates write it themselves.
[[nodiscard]] absl::StatusOr<std::vector<int32_t>> EncodeChat(const Tokenizer& tokenizer,
                                                              const RenderedChat& chat);

}  // namespace r1
