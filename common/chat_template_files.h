// The chat templates of a model folder, where transformers looks for them, and its special tokens.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/chat_template.h"
#include "common/status.h"

namespace r1 {

// Immutable; thread-safe.
class ModelChatTemplate {
 public:
  // `tokenizer_config.json` as a text, with a template that replaces its own when it is not empty.
  // `where` begins the errors. NotFound: there is no template.
  [[nodiscard]] static absl::StatusOr<ModelChatTemplate> Parse(absl::string_view config_json,
                                                               absl::string_view source,
                                                               const std::string& where);
  // chat_template.jinja, else `chat_template` of tokenizer_config.json: a text, or a list of
  // {name, template} with "default" and, for conversations with tools, perhaps "tool_use".
  // NotFound: the folder has none. InvalidArgument: it cannot be used; the file is named.
  [[nodiscard]] static absl::StatusOr<ModelChatTemplate> Load(const std::string& folder);
  // One template and no special tokens.
  [[nodiscard]] static absl::StatusOr<ModelChatTemplate> OfSource(absl::string_view source);

  // As ChatTemplate::Render, with the model's special tokens where the variables name none.
  [[nodiscard]] absl::StatusOr<RenderedChat> Render(absl::string_view variables_json,
                                                    absl::string_view where,
                                                    absl::Time now = absl::Now()) const;

 private:
  static absl::StatusOr<ModelChatTemplate> WithSpecialTokens(absl::string_view config_json,
                                                             const std::string& where);
  std::unique_ptr<const ChatTemplate> default_;
  std::unique_ptr<const ChatTemplate> tool_use_;       // may be null
  std::map<std::string, std::string> special_tokens_;  // "bos_token": its text
};

}  // namespace r1
